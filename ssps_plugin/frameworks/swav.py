"""SwAV for speaker embeddings."""

import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.frameworks.siamese import Siamese


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
