"""Frameworks that embed two views with one network: SimCLR, SwAV, VICReg."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import check_flag
from ssps_plugin.frameworks.framework import Framework, flatten_view_pair


class Siamese(Framework):
    """Base of frameworks of one network, which embeds both views.

    Arguments
    ---------
    embedding_model : torch.nn.Module
        `(wavs, lengths) -> (batch, dim)`, such as `EmbeddingModel`.
    projector : torch.nn.Module, optional
        `(batch, dim) -> (batch, projected)`; none by default.
    views_together : bool
        Embed both views in one pass, so that they share batch statistics.
        False: one after the other, each with statistics of its own, as in the
        code of Lepage and Dehak; running statistics then move twice a step.
    """

    def __init__(
        self,
        embedding_model: nn.Module,
        projector: nn.Module | None = None,
        views_together: bool = True,
    ) -> None:
        super().__init__()
        check_flag("views_together", views_together)
        self.embedding_model = embedding_model
        self.projector = nn.Identity() if projector is None else projector
        self.views_together = views_together

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether there is no projector."""
        return isinstance(self.projector, nn.Identity)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both views, in one pass or in two.

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
        passes = (wavs,) if self.views_together else wavs.chunk(2)
        embeddings = [self.embedding_model(one) for one in passes]
        self.first_view_embedding = embeddings[0][: len(wavs) // 2].detach()
        projected = torch.cat([self.projector(one) for one in embeddings])
        anchors, positives = projected.chunk(2)
        return anchors, positives


class SimCLR(Siamese):
    """SimCLR: two views and one network, without a projector by default.

    As published for speaker verification. The original has a projector.

    Arguments
    ---------
    embedding_model, projector, views_together
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
    views_together : bool
        As in `Siamese`.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882); settings of
    Lepage and Dehak, IEEE TASLP 33, 2025 (arXiv 2501.17772). Differs from
    Caron et al.: two views of one length, no smaller crops.
    """

    def __init__(
        self,
        embedding_model: nn.Module,
        projector: nn.Module,
        views_together: bool = True,
    ) -> None:
        super().__init__(embedding_model, projector, views_together)

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed, project and normalise both views.

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
    views_together : bool
        As in `Siamese`.

    Source: A. Bardes et al., VICReg, ICLR 2022 (arXiv 2105.04906); settings of
    Lepage and Dehak, IEEE TASLP 33, 2025 (arXiv 2501.17772).
    """

    def __init__(
        self,
        embedding_model: nn.Module,
        projector: nn.Module,
        views_together: bool = True,
    ) -> None:
        super().__init__(embedding_model, projector, views_together)
