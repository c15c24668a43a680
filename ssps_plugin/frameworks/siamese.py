"""Frameworks that embed two views with one network: SimCLR, SwAV, VICReg."""

import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.frameworks.framework import Framework, flatten_view_pair


class Siamese(Framework):
    """Base of frameworks of one network, which embeds both views in one pass.

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
            One group, `(batch, 2, samples)`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors and positives, `(batch, dim)` each, with gradient.

        Raises
        ------
        ValueError
            Other than one group of two views.
        """
        wavs = flatten_view_pair(views)
        embeddings = self.embedding_model(wavs)
        self.first_view_embedding = embeddings.detach().chunk(2)[0]
        anchors, positives = self.projector(embeddings).chunk(2)
        return anchors, positives


class SimCLR(Siamese):
    """SimCLR: two views and one network, without a projector by default.

    As published for speaker verification. The original has a projector.

    Arguments
    ---------
    embedding_model, projector
        As in `Siamese`.

    Source: T. Chen et al., ICML 2020 (arXiv 2002.05709); settings of Lepage
    and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """


class SwAV(Siamese):
    """SwAV: two views and one network, projected onto the unit sphere.

    The prototypes belong to the objective: they are an entry of
    `Brain.modules` of their own.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        `(wavs, lengths) -> (batch, dim)`, such as `EmbeddingModel`.
    projector : torch.nn.Module
        `(batch, dim) -> (batch, projected)`, such as `MLPHead`.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882); settings of
    Lepage and Dehak, IEEE TASLP 33, 2025 (arXiv 2501.17772). Differs from
    Caron et al.: two views of one length, no smaller crops.
    """

    def __init__(
        self, embedding_model: nn.Module, projector: nn.Module
    ) -> None:
        super().__init__(embedding_model, projector)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed, project and normalise both views in one pass.

        Arguments and errors are those of `Siamese`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors and positives, `(batch, projected)` float32 of unit norm
            each, with gradient.
        """
        anchors, positives = super().forward(*views)
        return (
            F.normalize(anchors.float(), dim=-1),
            F.normalize(positives.float(), dim=-1),
        )


class VICReg(Siamese):
    """VICReg: two views, one network and a projector.

    The loss acts on the variance and covariance of the projector's output, not
    of the embeddings.

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
