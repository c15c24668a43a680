"""VICReg for speaker embeddings."""

from torch import nn

from ssps_plugin.frameworks.siamese import Siamese


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
