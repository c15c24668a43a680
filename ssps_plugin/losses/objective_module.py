"""What an objective has beside its loss: prototypes, negatives, a centre."""

from collections.abc import Iterable

from torch import Tensor, nn


class ObjectiveModule(nn.Module):
    """Base of what the Brain keeps for a loss and passes to it by name.

    An entry of `modules` beside the framework and the sampler is an operand of
    the loss under its own name, so that parallel training, checkpoints and the
    optimiser see it, and the loss itself owns nothing. An entry with more to
    do than being called derives from here.
    """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for a training epoch, counted from 1."""

    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Take note of a step's targets, after its loss.

        Arguments
        ---------
        targets : torch.Tensor
            What the loss compared the anchors with, substituted positives
            among them; without gradient.
        groups : torch.Tensor, optional
            `(batch,)` int64, the cluster that each target comes from, -1 for
            none, where false negatives are masked.
        """

    def update_anchors(self, anchors: Tensor) -> None:
        """Take note of a step's anchors, after its loss and before `update`.

        For what remembers both sides of a pair.

        Arguments
        ---------
        anchors : torch.Tensor
            As the framework gives them; without gradient.
        """

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that this epoch leaves as they are."""
        return ()

    def metrics(self) -> dict[str, float]:
        """Return what is worth logging once per epoch, and start anew."""
        return {}


def check_pairs(anchors: Tensor, positives: Tensor) -> None:
    """Raise a ValueError unless both are `(batch, dim)`, of one shape.

    Example
    -------
    >>> import torch
    >>> check_pairs(torch.zeros(4, 8), torch.zeros(4, 8))
    """
    if anchors.shape != positives.shape or anchors.dim() != 2:
        raise ValueError(
            "Expected anchors and positives of one shape (batch, dim), got "
            f"{tuple(anchors.shape)} and {tuple(positives.shape)}."
        )
