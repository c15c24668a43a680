"""The hashed draws against arbitrary-precision integers."""

import math

import pytest
import torch

from ssps_plugin.sampling.draw import (
    check_rank_decay,
    draw_ranks,
    draw_uniform,
)

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix(state):
    """Finaliser of SplitMix64 in Python's integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def uniform_by_integers(seed, epoch, utterance, stream):
    key = seed
    for value in (epoch, stream, 0):
        key = (splitmix((key + GOLDEN) & MASK) + value) & MASK
    return (splitmix((key + utterance * GOLDEN) & MASK) >> 11) / 2**53


def test_equals_splitmix_in_integers():
    index = torch.tensor([0, 1, 2, 4999, 1_092_008, 2**40])
    for seed, epoch, stream in ((0, 1, 0), (1986, 101, 1), (2**31, 7, 1)):
        expected = [
            uniform_by_integers(seed, epoch, utterance, stream)
            for utterance in index.tolist()
        ]
        assert draw_uniform(seed, epoch, index, stream).tolist() == expected


def test_splitmix_gives_its_published_first_output():
    # Seed 0, first output of the reference implementation in Java and C.
    assert splitmix(GOLDEN) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("other", [(2, 3, 4), (1, 4, 4), (1, 3, 5)])
def test_seed_epoch_and_stream_each_give_unrelated_draws(other):
    index = torch.arange(20_000)
    ours, theirs = (
        draw_uniform(1, 3, index, 4),
        draw_uniform(*other[:2], index, other[2]),
    )
    assert not (ours == theirs).any()
    correlation = torch.corrcoef(torch.stack([ours, theirs]))[0, 1]
    assert abs(correlation) < 4 / len(index) ** 0.5


def test_draws_fill_the_unit_interval_evenly():
    draws = draw_uniform(5, 6, torch.arange(100_000), 0)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.histc(draws, bins=100, min=0, max=1)
    chi_square = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi_square < 99 + 4 * (2 * 99) ** 0.5


def test_consecutive_utterances_and_epochs_are_not_correlated():
    draws = torch.stack(
        [draw_uniform(0, epoch, torch.arange(500), 0) for epoch in range(500)]
    )
    for ours, theirs in (
        (draws[1:], draws[:-1]),
        (draws[:, 1:], draws[:, :-1]),
    ):
        pair = torch.stack([ours.flatten(), theirs.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 4 / 500


@pytest.mark.parametrize("decay", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("num_ranks", [1, 2, 7])
def test_ranks_fall_as_the_exponential_of_the_decay(decay, num_ranks):
    num_draws = 100_000
    draws = (torch.arange(num_draws).double() + 0.5) / num_draws
    ranks = draw_ranks(draws, torch.full((num_draws,), num_ranks), decay)
    weights = [math.exp(-decay * rank) for rank in range(num_ranks)]
    expected = torch.tensor(weights).double() / sum(weights)
    fractions = ranks.bincount(minlength=num_ranks).double() / num_draws
    torch.testing.assert_close(fractions, expected, atol=2 / num_draws, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 1e-12, 1.0, 700.0])
def test_the_extreme_draws_stay_within_the_ranks(decay):
    draws = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.double)
    for num_ranks in (1, 3, 10**6):
        ranks = draw_ranks(draws, torch.tensor([num_ranks, num_ranks]), decay)
        assert 0 <= ranks[0] <= ranks[1] < num_ranks


def test_nothing_to_draw_from_gives_rank_zero():
    draws = torch.tensor([0.0, 0.999]).double()
    for decay in (0.0, 2.0):
        ranks = draw_ranks(draws, torch.tensor([0, 0]), decay)
        assert ranks.tolist() == [0, 0]


@pytest.mark.parametrize("decay", [-0.1, math.inf, math.nan])
def test_a_decay_that_is_no_decay_is_an_error(decay):
    with pytest.raises(
        ValueError, match="Expected rank_decay to be finite and at"
    ):
        check_rank_decay(decay)
