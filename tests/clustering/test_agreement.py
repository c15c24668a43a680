"""Agreement of two labelings against scikit-learn, and by hand."""

import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ssps_plugin.clustering import (
    adjusted_rand_index,
    normalized_mutual_information,
)

PAIRS = [
    (normalized_mutual_information, normalized_mutual_info_score),
    (adjusted_rand_index, adjusted_rand_score),
]
both = pytest.mark.parametrize(
    ("agreement", "expected"), PAIRS, ids=["nmi", "rand"]
)
each = pytest.mark.parametrize("agreement", [ours for ours, _ in PAIRS])


def random_labels(num_labels, num_utterances, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_labels, (num_utterances,), generator=generator)


@both
@pytest.mark.parametrize("sizes", [(2, 3), (10, 10), (300, 40), (1, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_agreement_is_scikit_learns(agreement, expected, sizes, seed):
    a = random_labels(sizes[0], 1000, seed)
    b = random_labels(sizes[1], 1000, seed + 100)
    b = torch.where(torch.arange(1000) % 3 == 0, a % sizes[1], b)
    found = agreement(a, b)
    assert found == pytest.approx(expected(a.numpy(), b.numpy()), abs=1e-9)


@both
def test_agreement_is_scikit_learns_at_voxceleb2s_size(agreement, expected):
    # A full table of 25 000 × 6 000 would take 1.2 GB.
    a = random_labels(25_000, 1_000_000, seed=0)
    noise = random_labels(6_000, 1_000_000, seed=1)
    b = torch.where(torch.arange(1_000_000) % 4 == 0, noise, a % 6_000)
    found = agreement(a, b)
    assert found == pytest.approx(expected(a.numpy(), b.numpy()), abs=1e-9)


@each
def test_renaming_labels_changes_nothing(agreement):
    a = random_labels(20, 500, seed=0)
    renamed = torch.randperm(20)[a] * 1_000_003 - 7
    assert agreement(a, renamed) == pytest.approx(1.0)


@each
def test_agreement_is_symmetric(agreement):
    a, b = random_labels(20, 500, seed=0), random_labels(7, 500, seed=1)
    assert agreement(a, b) == pytest.approx(agreement(b, a), abs=1e-12)


@each
def test_constant_labelings_share_everything_or_nothing(agreement):
    same, split = torch.zeros(4).long(), torch.tensor([0, 0, 1, 1])
    assert agreement(same, same + 3) == 1.0
    assert agreement(same, split) == 0.0


def test_independent_labelings_share_no_information_at_all():
    a, b = torch.arange(12) % 3, torch.arange(12) // 3
    assert normalized_mutual_information(a, b) == 0.0


def test_many_small_clusters_agree_by_chance_in_information_only():
    a, b = random_labels(200, 1000, seed=0), random_labels(200, 1000, seed=1)
    assert normalized_mutual_information(a, b) > 0.6
    assert abs(adjusted_rand_index(a, b)) < 0.01
    alone = torch.arange(5)
    assert adjusted_rand_index(alone, alone.flip(0)) == 1.0


@each
@pytest.mark.parametrize("sizes", [(3, 4), (0, 0)])
def test_refuses_labelings_that_do_not_pair(agreement, sizes):
    a, b = (torch.zeros(size).long() for size in sizes)
    with pytest.raises(ValueError, match=rf"got \({sizes[0]},\) and"):
        agreement(a, b)
