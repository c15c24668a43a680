"""Anchors and positives, row by row."""

from torch import Tensor


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
