"""What objectives share: the state beside a loss, and a check of its pairs."""

from collections.abc import Iterable

from torch import Tensor, nn


class ObjectiveModule(nn.Module):
    """Base of the modules that a loss reads: prototypes, negatives, a centre.

    An entry of `modules` beside the framework and the sampler is passed to the
    loss under its own name. So parallel training, checkpoints and the
    optimiser see it, and the loss itself owns nothing. An entry that does more
    than being called derives from this class.
    """

    #: Whether a forward pass changes the state, which a step that is left out
    #: has to undo. What `update` changes is updated by steps that count.
    moved_by_forward = False
    #: Names of the buffers that differ between ranks inside an epoch. A resume
    #: gives each rank its own back.
    buffers_of_rank: tuple[str, ...] = ()

    def check_batch(self, num_rows: int) -> None:
        """Check that the state takes a step of so many rows, of all ranks.

        Raises
        ------
        ValueError
            They are more than it remembers.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for a training epoch, counted from 1."""

    def explain_unready(self) -> str:
        """Say why utterances are hardly told apart yet, by the last epoch.

        Returns
        -------
        str
            Empty where nothing of the kind is known.
        """
        return ""

    def update_anchors(self, anchors: Tensor) -> None:
        """Update the state by a step's anchors, after its loss.

        Called before `update`, for a module that remembers both sides of a
        pair.

        Arguments
        ---------
        anchors : torch.Tensor
            As the framework returned them, without gradient.
        """

    def update_positives(self, positives: Tensor) -> None:
        """Update the state by a step's own positives, after its loss.

        Called between `update_anchors` and `update`, for a module that
        remembers positives as they were before any was substituted.

        Arguments
        ---------
        positives : torch.Tensor
            As the framework returned them, without gradient.
        """

    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Update the state by a step's targets, after its loss.

        Arguments
        ---------
        targets : torch.Tensor
            What the loss compared the anchors with, substituted positives
            included, without gradient.
        groups : torch.Tensor, optional
            `(batch,)` int64, the cluster that each target comes from, -1 for
            none. Passed where false negatives are masked.
        """

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that do not move in this epoch."""
        return ()

    def undecayed_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters on which there is no weight decay."""
        return ()

    def metrics(self) -> dict[str, float]:
        """Return what is logged once per epoch, and reset it."""
        return {}


def check_pairs(anchors: Tensor, positives: Tensor) -> None:
    """Check that anchors and positives are `(batch, dim)`, of one shape.

    Raises
    ------
    ValueError
        They are not.

    Example
    -------
    >>> import torch
    >>> check_pairs(torch.zeros(4, 8), torch.zeros(4, 8))
    """
    if anchors.shape != positives.shape or anchors.dim() != 2:
        raise ValueError(
            "Expected anchors and positives of one shape (batch, dim), got "
            f"{tuple(anchors.shape)} and {tuple(positives.shape)}: change "
            "framework or ssl_loss."
        )
