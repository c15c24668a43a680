"""Draws that are functions of (seed, epoch, utterance), and nothing else.

A draw does not depend on the batch that it is in, on the rank, on the order of
the queue or on a generator's state. So a resumed run and another number of
ranks draw the same, and a GPU does not wait for the host.
"""

import math

import torch
from torch import Tensor

from ssps_plugin.checks import is_from_to

# SplitMix64's increment, and the multipliers of its finaliser.
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def draw_uniform(seed: int, epoch: int, index: Tensor, stream: int) -> Tensor:
    """Draw uniform numbers by hashing seed, epoch and utterance (SplitMix64).

    Arguments
    ---------
    seed : int
        Seed of the experiment.
    epoch : int
        Epoch, from 1.
    index : torch.Tensor
        `(batch,)` int64, the utterances.
    stream : int
        Number of the draw, where an utterance needs several.

    Returns
    -------
    torch.Tensor
        `(batch,)` float64 in [0, 1).

    Source: G. Steele et al., Fast splittable pseudorandom number generators,
    OOPSLA 2014.

    Example
    -------
    >>> index = torch.tensor([4, 5])
    >>> draws = draw_uniform(1, 2, index, stream=0)
    >>> bool((draw_uniform(1, 2, index, stream=0) == draws).all())
    True
    >>> bool((draw_uniform(1, 3, index, stream=0) == draws).any())
    False
    """
    # What is common to the batch is mixed on the host, in one integer.
    key = _mix_int(_mix_int(_mix_int(seed) + epoch) + stream)
    state = _mix(index * _signed(_INCREMENT) + _signed(key))
    return ((state >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def draw_ranks(uniform: Tensor, num_ranks: Tensor, decay: float) -> Tensor:
    """Draw ranks with p(rank) proportional to exp(-decay · rank).

    Arguments
    ---------
    uniform : torch.Tensor
        `(batch,)` float64 in [0, 1), the numbers to draw by.
    num_ranks : torch.Tensor
        `(batch,)` int64, how many ranks there are to draw from.
    decay : float
        At least 0, which draws uniformly; the larger, the more the first ranks
        are preferred.

    Returns
    -------
    torch.Tensor
        `(batch,)` int64 in [0, num_ranks), 0 where there are no ranks.

    Example
    -------
    >>> uniform = torch.tensor([0.0, 0.5, 0.99]).double()
    >>> draw_ranks(uniform, torch.tensor([4, 4, 4]), decay=0.0).tolist()
    [0, 2, 3]
    >>> draw_ranks(uniform, torch.tensor([4, 4, 4]), decay=2.0).tolist()
    [0, 0, 2]
    """
    if decay == 0.0:
        # Below num_ranks even when rounded: uniform is at most 1 - 2**-53.
        return (uniform * num_ranks).long()
    # The inverse of the truncated geometric distribution function.
    total = -torch.expm1(-decay * num_ranks.double())
    ranks = -torch.log1p(-uniform * total) / decay
    last = (num_ranks - 1).clamp(min=0)
    return ranks.floor().long().clamp(min=0).minimum(last)


def check_rank_decay(rank_decay: float) -> None:
    """Raise a ValueError unless the decay is finite and not negative."""
    if not is_from_to(0, math.inf, rank_decay):
        raise ValueError(
            "Expected rank_decay to be finite and at least 0, got "
            f"{rank_decay!r}: change rank_decay (0 draws uniformly)."
        )


def _mix(state: Tensor) -> Tensor:
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        state = (state ^ _shift_right(state, shift)) * _signed(multiplier)
    return state ^ _shift_right(state, 31)


def _shift_right(state: Tensor, shift: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask clears the copied sign bits.
    return (state >> shift) & ((1 << (64 - shift)) - 1)


def _mix_int(state: int) -> int:
    mask = (1 << 64) - 1
    state = (state + _INCREMENT) & mask
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        state = ((state ^ (state >> shift)) * multiplier) & mask
    return state ^ (state >> 31)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
