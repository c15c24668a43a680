"""What methods share that compare two views by one network."""

from torch import Tensor, nn

from ssps_plugin.frameworks.framework import Framework
from ssps_plugin.frameworks.view_pair import flatten_view_pair


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
