"""Frameworks that compare two views by one network: SimCLR, SwAV, VICReg."""

import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.frameworks.framework import Framework, flatten_view_pair


class Siamese(Framework):
    """Embedding model and optional projector, called once for both views.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        `(wavs, lengths) -> (batch, dim)`, such as `EmbeddingModel`.
    projector : torch.nn.Module, optional
        `(batch, dim) -> (batch, projected)`; none by default.
    """

    def __init__(
        self, embedding_model: nn.Module, projector: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embedding_model = embedding_model
        self.projector = nn.Identity() if projector is None else projector

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether there is no projector."""
        return isinstance(self.projector, nn.Identity)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both views in one pass.

        Arguments
        ---------
        *views : torch.Tensor
            One, `(batch, 2, samples)`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors and positives, `(batch, dim)` each, with gradient.

        Raises
        ------
        ValueError
            Not two views.
        """
        wavs = flatten_view_pair(views)
        anchors, positives = self.projector(self.embedding_model(wavs)).chunk(2)
        return anchors, positives


class SimCLR(Siamese):
    """Two views by one network, without a projector by default.

    That is how it is published for speaker verification; the original has a
    projector, and may have one here.

    Arguments
    ---------
    embedding_model, projector
        As in `Siamese`.

    Source: T. Chen et al., ICML 2020 (arXiv 2002.05709); settings of Lepage
    and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """


class SwAV(Siamese):
    """Two views by one network and a projector, onto the unit sphere.

    The prototypes that they are compared with are no part of it: they belong
    to the objective, as an entry of `Brain.modules` of their own.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        `(wavs, lengths) -> (batch, dim)`, such as `EmbeddingModel`.
    projector : torch.nn.Module
        `(batch, dim) -> (batch, projected)`, such as `MLPHead`.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882); settings of
    Lepage and Dehak, IEEE TASLP 33, 2025 (arXiv 2501.17772). Differs from the
    former: two views of one length, no smaller crops.
    """

    def __init__(
        self, embedding_model: nn.Module, projector: nn.Module
    ) -> None:
        super().__init__(embedding_model, projector)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of both views, `(batch, projected)` each.

        As in `Siamese`, float32, of unit norm.
        """
        anchors, positives = super().forward(*views)
        return (
            F.normalize(anchors.float(), dim=-1),
            F.normalize(positives.float(), dim=-1),
        )


class VICReg(Siamese):
    """Two views by one network and a projector, which VICReg rests on.

    Its loss shapes the variance and covariance of what the projector gives,
    not those of the embeddings.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        `(wavs, lengths) -> (batch, dim)`, such as `EmbeddingModel`.
    projector : torch.nn.Module
        `(batch, dim) -> (batch, projected)`, such as `MLPHead`.

    Source: A. Bardes et al., VICReg, ICLR 2022 (arXiv 2105.04906); settings of
    Lepage and Dehak, IEEE TASLP 33, 2025 (arXiv 2501.17772).
    """

    def __init__(
        self, embedding_model: nn.Module, projector: nn.Module
    ) -> None:
        super().__init__(embedding_model, projector)
