"""Label-free signs against their definitions, by slow loops."""

import math

import pytest
import torch

from ssps_plugin.sampling import effective_rank, strategy
from ssps_plugin.sampling.signs import mutual_neighbors, reciprocal_clusters


def random_references(num=300, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.1])[:dim]
    rows = torch.randn(num, dim, generator=generator) * scale
    return torch.nn.functional.normalize(rows + 0.3, dim=1)


def rank_by_numpy(references):
    rows = references.double().numpy()
    rows = rows - rows.mean(0)
    variance = [float(v) ** 2 for v in torch.linalg.svdvals(torch.tensor(rows))]
    shares = [v / sum(variance) for v in variance if v > 0]
    return math.exp(-sum(share * math.log(share) for share in shares))


@pytest.mark.parametrize("chunk", [7, 1 << 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_effective_rank_is_that_of_the_definition(
    chunk, dtype, monkeypatch
):
    monkeypatch.setattr(strategy, "_CHUNK_ROWS", chunk)
    references = random_references().to(dtype)
    expected = rank_by_numpy(references)
    assert effective_rank(references) == pytest.approx(expected, rel=1e-4)
    assert 2 < expected < 5


def test_turning_and_scaling_change_no_rank():
    references = random_references()
    turn = torch.linalg.qr(random_references(6, seed=1))[0]
    rank = effective_rank(references)
    assert effective_rank(3 * references @ turn) == pytest.approx(rank, 1e-4)


def test_directions_are_counted():
    for num in (1, 2, 5):
        axes = torch.eye(8)[:num]
        rank = effective_rank(torch.cat([axes, -axes]))
        assert rank == pytest.approx(num, rel=1e-6)


def test_references_that_are_the_same_have_no_rank():
    one = random_references(1)
    assert effective_rank(one) == 0.0
    assert effective_rank(one.repeat(500, 1)) == 0.0
    assert effective_rank(one[:0]) == 0.0


def test_mutual_neighbors_are_counted():
    generator = torch.Generator().manual_seed(2)
    lists = torch.rand(40, 40, generator=generator).argsort(1)[:, :5].int()
    lists[:, 0] = torch.arange(40)
    lists[::4] = -1
    seen = [u for u in range(40) if u % 4]
    mutual = sum(int(lists[int(lists[u, 1]), 1]) == u for u in seen)
    # A nearest one that has no list itself has no neighbour.
    assert mutual_neighbors(lists) == pytest.approx(mutual / len(seen))
    lists[9, 1], lists[11, 1] = 11, 9
    assert mutual_neighbors(lists) >= 2 / len(seen)
    assert mutual_neighbors(torch.full((3, 5), -1)) == 0.0


def test_reciprocal_clusters_are_counted_by_utterance():
    generator = torch.Generator().manual_seed(3)
    clusters = torch.randint(-1, 6, (50,), generator=generator)
    neighbors = torch.tensor([[1, 2], [0, 5], [1, 0], [4, 2], [3, 0], [2, 1]])
    reciprocal = [c for c in clusters.tolist() if c in (0, 1, 3, 4)]
    num = int((clusters >= 0).sum())
    found = reciprocal_clusters(clusters.int(), neighbors)
    assert found == pytest.approx(len(reciprocal) / num)
    assert reciprocal_clusters(torch.full((4,), -1), neighbors) == 0.0
