"""The shapes in which positives come, brought to one and back."""

from torch import Tensor


class PositiveLayout:
    """Brings positives to `(num_targets, batch, dim)` and back.

    Arguments
    ---------
    num_targets : int
        Positives per utterance.
    dim : int
        Dimension of a positive.
    """

    def __init__(self, num_targets: int, dim: int) -> None:
        self.num_targets = num_targets
        self.dim = dim

    def targets_first(self, positives: Tensor, batch_size: int) -> Tensor:
        """Return positives as `(num_targets, batch, dim)`.

        Arguments
        ---------
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`.
        batch_size : int
            Number of utterances.

        Raises
        ------
        ValueError
            Another shape or dimension, or integers.
        """
        shape = tuple(positives.shape)
        targets_shape = (self.num_targets, batch_size, self.dim)
        if positives.is_floating_point():
            if shape == targets_shape:
                return positives
            if self.num_targets == 1 and shape == (batch_size, self.dim):
                return positives[None]
            if self.num_targets == 1 and shape == (batch_size, 1, self.dim):
                return positives.transpose(0, 1)
        expected = f"{targets_shape} (num_targets, batch, positive_dim)"
        if self.num_targets == 1:
            expected += f", or without num_targets {targets_shape[1:]}"
        raise ValueError(
            f"Expected positives of shape {expected}, floating point, for "
            f"{batch_size} ids; got {positives.dtype} of shape {shape}. Check "
            "positive_dim and num_targets of the PositiveSampler."
        )

    def restore(self, targets: Tensor, like: Tensor) -> Tensor:
        """Return `(num_targets, batch, dim)` in the shape of `like`."""
        if targets.shape == like.shape:
            return targets
        if like.dim() == 2:
            return targets[0]
        return targets.transpose(0, 1)
