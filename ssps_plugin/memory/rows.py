"""Repeated utterances and substitution: the rows of a step, on its device."""

from typing import NamedTuple

import torch
from torch import Tensor


class Repeats(NamedTuple):
    """Which rows of a step are the last of their utterance.

    Arguments
    ---------
    is_last : torch.Tensor
        `(batch,)` bool, whether a row is the last of its utterance.
    place : torch.Tensor
        `(batch,)` int64, the place of a last row among all last rows, from 0;
        meaningless for other rows.
    num_distinct : torch.Tensor
        0-d int64, the number of distinct utterances.
    """

    is_last: Tensor
    place: Tensor
    num_distinct: Tensor


def resolve_repeats(index: Tensor) -> Repeats:
    """Find the last row of every utterance of a step.

    Arguments
    ---------
    index : torch.Tensor
        `(batch,)` int64, the utterance of every row; at least one row.

    Returns
    -------
    Repeats
        Which rows are the last ones, and how many there are.

    Example
    -------
    >>> resolve_repeats(torch.tensor([4, 9, 4])).is_last.tolist()
    [False, True, True]
    """
    ordered, order = torch.sort(index, stable=True)
    ends_run = torch.ones_like(ordered, dtype=torch.bool)
    ends_run[:-1] = ordered[1:] != ordered[:-1]
    is_last = torch.empty_like(ends_run)
    is_last[order] = ends_run
    count = is_last.cumsum(0)
    return Repeats(is_last, count - 1, count[-1])


def substitute(positives: Tensor, pool: Tensor, rows: Tensor) -> Tensor:
    """Replace positives by the rows of the pool that were drawn.

    Arguments
    ---------
    positives : torch.Tensor
        `(num_targets, batch, dim)`, the anchors' own, any float dtype.
    pool : torch.Tensor
        `(num_targets, num_rows, dim)`, any float dtype, without gradient.
    rows : torch.Tensor
        `(batch,)` int64, the row of the pool drawn for each anchor; -1 keeps
        its own positive.

    Returns
    -------
    torch.Tensor
        Shape and dtype of `positives`, in new memory. Only positives that are
        kept carry gradient.

    Example
    -------
    >>> positives = torch.tensor([[[1.0], [2.0]]])
    >>> pool = torch.tensor([[[5.0], [6.0], [7.0]]])
    >>> substitute(positives, pool, torch.tensor([2, -1])).flatten().tolist()
    [7.0, 2.0]
    """
    drawn = pool.index_select(1, rows.clamp(min=0)).to(positives.dtype)
    return torch.where((rows >= 0)[None, :, None], drawn, positives)
