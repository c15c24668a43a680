"""What to do with an utterance that comes several times in one step."""

from typing import NamedTuple

import torch
from torch import Tensor


class Repeats(NamedTuple):
    """Rows of a step resolved so that the last row of an utterance wins.

    Arguments
    ---------
    is_last : torch.Tensor, optional
        `(batch,)` bool, whether a row is the last of its utterance. None where
        every row is.
    place : torch.Tensor
        `(batch,)` int64, place of a last row among the last rows.
    num_distinct : torch.Tensor or int
        How many utterances there are, 0-d int64.
    """

    is_last: Tensor | None
    place: Tensor
    num_distinct: Tensor | int


def resolve_repeats(index: Tensor) -> Repeats:
    """Resolve repeated utterances without leaving the device.

    Arguments
    ---------
    index : torch.Tensor
        `(batch,)` int64, the utterance of every row; at least one row.

    Example
    -------
    >>> resolve_repeats(torch.tensor([4, 9, 4])).is_last.tolist()
    [False, True, True]
    >>> resolve_repeats(torch.tensor([4, 9])).is_last is None
    True
    """
    batch = len(index)
    # On a CPU, where looking costs nothing: the usual step has no repeats.
    if index.device.type == "cpu" and len(set(index.tolist())) == batch:
        return Repeats(None, torch.arange(batch), batch)
    ordered, order = torch.sort(index, stable=True)
    ends_run = torch.ones_like(ordered, dtype=torch.bool)
    ends_run[:-1] = ordered[1:] != ordered[:-1]
    is_last = torch.empty_like(ends_run)
    is_last[order] = ends_run
    count = is_last.cumsum(0)
    return Repeats(is_last, count - 1, count[-1])
