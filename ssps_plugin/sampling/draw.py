"""Draws that are functions of (seed, epoch, utterance), and nothing else.

A draw does not depend on the batch it falls into, on the rank, on the order of
the queue or on a generator's state, so a resume or another number of ranks
draws the same, and on a GPU nothing waits for the host.
"""

import math

import torch
from torch import Tensor

_STREAM = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def uniform(seed: int, epoch: int, index: Tensor, stream: int) -> Tensor:
    """Uniform numbers by hashing (SplitMix64) seed, epoch and utterance.

    Arguments
    ---------
    seed : int
        Seed of the experiment.
    epoch : int
        Epoch, from 1.
    index : torch.Tensor
        `(batch,)` int64, the utterances.
    stream : int
        Tells several draws for one utterance apart.

    Returns
    -------
    torch.Tensor
        `(batch,)` float64 in [0, 1).

    Source: G. Steele et al., Fast splittable pseudorandom number generators,
    OOPSLA 2014.

    Example
    -------
    >>> index = torch.tensor([4, 5])
    >>> bool((uniform(1, 2, index, 0) == uniform(1, 2, index, 0)).all())
    True
    >>> bool((uniform(1, 2, index, 0) == uniform(1, 3, index, 0)).any())
    False
    """
    # What is common to the batch is mixed on the host, in one integer.
    key = _mix_int(_mix_int(_mix_int(seed) + epoch) + stream)
    state = _mix(index * _signed(_STREAM) + _signed(key))
    return ((state >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def rank_of(draws: Tensor, num_ranks: Tensor, decay: float) -> Tensor:
    """Turn uniform numbers into ranks, p(rank) ~ exp(-decay·rank).

    Arguments
    ---------
    draws : torch.Tensor
        `(batch,)` float64 in [0, 1).
    num_ranks : torch.Tensor
        `(batch,)` int64, how many ranks there are to draw from.
    decay : float
        0 draws uniformly; the larger, the more the first ranks are preferred.

    Returns
    -------
    torch.Tensor
        `(batch,)` int64 in [0, num_ranks), 0 where there are none.

    Example
    -------
    >>> draws = torch.tensor([0.0, 0.5, 0.99]).double()
    >>> rank_of(draws, torch.tensor([4, 4, 4]), decay=0.0).tolist()
    [0, 2, 3]
    >>> rank_of(draws, torch.tensor([4, 4, 4]), decay=2.0).tolist()
    [0, 0, 2]
    """
    if decay == 0.0:
        # Below num_ranks even when rounded: a draw is at most 1 - 2**-53.
        return (draws * num_ranks).long()
    # The inverse of the truncated geometric distribution function.
    total = -torch.expm1(-decay * num_ranks.double())
    ranks = -torch.log1p(-draws * total) / decay
    last = (num_ranks - 1).clamp(min=0)
    return ranks.floor().long().clamp(min=0).minimum(last)


def _mix(state: Tensor) -> Tensor:
    for shift, factor in ((30, _MIX[0]), (27, _MIX[1])):
        state = (state ^ _shift_right(state, shift)) * _signed(factor)
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, shift: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask takes the sign away.
    return (state >> shift) & ((1 << (64 - shift)) - 1)


def _mix_int(state: int) -> int:
    mask = (1 << 64) - 1
    state = (state + _STREAM) & mask
    for shift, factor in ((30, _MIX[0]), (27, _MIX[1])):
        state = ((state ^ (state >> shift)) * factor) & mask
    return state ^ (state >> 31)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def check_decay(decay: float) -> None:
    """Raise a ValueError unless the decay is finite and not negative."""
    if not (math.isfinite(decay) and decay >= 0):
        raise ValueError(
            f"rank_decay must be finite and >= 0 (0 draws uniformly), "
            f"got {decay}."
        )
