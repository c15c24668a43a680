"""What a sampler counts over an epoch."""

import torch
from torch import Tensor, nn


class EpochCounts(nn.Module):
    """Anchors, those with a pseudo-positive, and rows not remembered.

    Example
    -------
    >>> counts = EpochCounts()
    >>> counts.add(torch.tensor([True, False]), torch.tensor([True, True]))
    >>> counts.figures()
    {'coverage': 0.5, 'not_remembered': 0.0}
    """

    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(3, dtype=torch.long))

    def add(self, covered: Tensor, remembered: Tensor | None) -> None:
        """Count one step, `(batch,)` bool each; None: all are remembered."""
        values = self.values
        values[0].add_(covered.numel())
        values[1].add_(covered.count_nonzero())
        if remembered is not None:
            values[2].add_((~remembered).count_nonzero())

    def reset(self) -> None:
        """Start counting anew."""
        self.values.zero_()

    def figures(self) -> dict[str, float]:
        """Return coverage and the number of rows not remembered."""
        anchors, covered, dropped = self.values.tolist()
        return {
            "coverage": covered / max(anchors, 1),
            "not_remembered": float(dropped),
        }
