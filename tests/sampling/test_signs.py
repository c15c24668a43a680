"""Label-free signs against their definitions, and scikit-learn's."""

import math

import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from ssps_plugin.sampling import signs
from ssps_plugin.sampling.signs import (
    adjusted_rand_index,
    effective_rank,
    reciprocal_fraction,
)


@pytest.mark.parametrize("chunk", [3, 1 << 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_effective_rank_is_that_of_the_singular_values(
    chunk, dtype, monkeypatch
):
    monkeypatch.setattr(signs, "_CHUNK_ROWS", chunk)
    scales = torch.tensor([3.0, 1.0, 0.5, 0.1])
    rows = (torch.randn(50, 4) * scales + 2).to(dtype)
    centred = rows.double() - rows.double().mean(0)
    shares = torch.linalg.svdvals(centred).square()
    shares = shares / shares.sum()
    expected = math.exp(-float((shares * shares.log()).sum()))
    assert effective_rank(rows) == pytest.approx(expected, rel=1e-4)


def test_the_effective_rank_counts_directions():
    axes = torch.cat([torch.eye(6), -torch.eye(6)])
    assert effective_rank(axes) == pytest.approx(6)
    line = torch.linspace(-1, 1, 9)[:, None] * torch.eye(6)[0]
    assert effective_rank(line) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.ones(1, 6)) == 0
    assert effective_rank(torch.ones(9, 6)) > 0  # nothing varies: no nan


@pytest.mark.parametrize("seed", range(5))
def test_the_adjusted_rand_index_is_scikit_learns(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(0, 7, (60,), generator=generator)
    b = torch.where(
        torch.rand(60, generator=generator) < 0.6,
        a,
        torch.randint(0, 9, (60,), generator=generator),
    )
    expected = adjusted_rand_score(a.numpy(), b.numpy())
    assert adjusted_rand_index(a, b) == pytest.approx(expected, abs=1e-12)
    assert adjusted_rand_index(b, a) == pytest.approx(expected, abs=1e-12)
    # Without a cluster in one of both, an utterance says nothing.
    more = (
        torch.cat([a, torch.tensor([3, -1])]),
        torch.cat([b, torch.tensor([-1, 3])]),
    )
    assert adjusted_rand_index(*more) == pytest.approx(expected, abs=1e-12)


def test_clusterings_that_are_the_same_or_say_nothing():
    a = torch.arange(60) % 6
    assert adjusted_rand_index(a, 5 - a) == 1
    assert abs(adjusted_rand_index(a, torch.arange(60) // 10)) < 0.15
    alone = torch.arange(5)
    assert adjusted_rand_index(alone, alone + 3) == 1
    none = torch.full((5,), -1)
    assert adjusted_rand_index(none, alone) == 1


def test_who_is_the_nearest_of_the_nearest():
    assert reciprocal_fraction(torch.tensor([1, 0, 3, 4, 3])) == 4 / 5
    assert reciprocal_fraction(torch.tensor([1, 2, 0])) == 0
    assert reciprocal_fraction(torch.tensor([-1, 2, 1])) == 1
    assert reciprocal_fraction(torch.tensor([-1, -1])) == 0
