"""What every framework is: views in, anchors and positives out."""

from collections.abc import Iterable

from torch import Tensor, nn


class Framework(nn.Module):
    """Base of the frameworks: one module, called once per step with all views.

    So parallel training, SyncBatchNorm and compilation see everything. A
    framework knows neither where positives go next nor which loss follows.
    The defaults suit a framework of one network without momentum.
    """

    embedding_model: nn.Module

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return anchors and positives of a batch.

        Arguments
        ---------
        *views : torch.Tensor
            One tensor per group of crops, `(batch, num_crops, samples)`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors, of any shape that the loss takes, and positives, `(batch,
            dim)` or `(num_targets, batch, dim)`.
        """
        raise NotImplementedError

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether positives live in the space of `embed`: no head."""
        return False

    @property
    def exported_model(self) -> nn.Module:
        """The embedding model that is verified and exported."""
        return self.embedding_model

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings, `(batch, dim)`, by the exported model.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all full when left out.
        """
        embedding: Tensor = self.exported_model(wavs, lengths)
        return embedding

    def targets(self, positives: Tensor) -> Tensor:
        """Return what anchors are compared with, given final positives.

        Called after substitution, outside the wrapper of parallel training,
        so it may use only what has no gradient.
        """
        return positives

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for a training epoch, counted from 1."""

    def update(self, progress: float) -> None:
        """Follow a real step of the optimiser, with a momentum network.

        Arguments
        ---------
        progress : float
            Share of the training that is done, in [0, 1].
        """

    @property
    def final_momentum(self) -> float | None:
        """Momentum at the end of its schedule; None without a momentum."""
        return None

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that this epoch leaves as they are."""
        return ()
