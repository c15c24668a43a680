"""The nearest centroid of every point, searched exhaustively and pruned."""

import pytest
import torch
from torch.nn.functional import normalize

from ssps_plugin.clustering import assignment
from ssps_plugin.clustering.assignment import (
    PrunedAssignment,
    SimilarityTile,
    nearest_centroids,
    order_by_similarity,
)


@pytest.mark.parametrize("num_clusters", [1, 63, 64, 65, 200])
def test_equals_an_argmax_over_all_similarities(
    unit_vectors, num_clusters: int
) -> None:
    # More points than a tile holds, so that the last tile is a part of one.
    points = unit_vectors(40_000, 4)
    centroids = unit_vectors(num_clusters, 4, seed=1)

    similarities, labels = nearest_centroids(points, centroids)

    best, expected = (points @ centroids.t()).max(dim=1)
    assert torch.equal(labels, expected)
    torch.testing.assert_close(similarities, best)


def test_filling_never_wins_against_negative_similarities() -> None:
    centroids = torch.tensor([[-1.0, 0.0], [-0.6, 0.8], [-0.8, -0.6]])

    similarities, labels = nearest_centroids(
        torch.tensor([[1.0, 0.0]]), centroids
    )

    assert labels.tolist() == [1]
    assert similarities.item() == pytest.approx(-0.6)


def test_lowest_index_wins_among_equal_centroids(on_circle) -> None:
    centroids = on_circle(90, *[0] * 150)

    _, labels = nearest_centroids(on_circle(10), centroids)

    assert labels.tolist() == [1]


def test_block_maxima_are_the_largest_similarity_of_each_block(
    on_circle,
) -> None:
    tile = SimilarityTile(on_circle(0, 60, 90), torch.float32, 2, block_width=2)

    maxima, _, labels = tile(on_circle(90, 60))

    cosines = torch.tensor([[30.0, 0.0], [0.0, 30.0]]).deg2rad_().cos()
    torch.testing.assert_close(maxima, cosines, atol=1e-6, rtol=0)
    assert labels.tolist() == [2, 1]


def test_no_points_have_no_labels(unit_vectors) -> None:
    similarities, labels = nearest_centroids(
        unit_vectors(0, 4), unit_vectors(3, 4)
    )

    assert similarities.numel() == labels.numel() == 0


@pytest.mark.parametrize("step", [0.01, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("max_fraction", [0.0, 0.6, 0.999])
def test_finds_the_nearest_however_far_centroids_move(
    unit_vectors, mixture, monkeypatch, step: float, max_fraction: float
) -> None:
    monkeypatch.setattr(assignment, "_MAX_FRACTION", max_fraction)
    points = mixture(1500, 8, 30)
    centroids = points[:101]
    assign = PrunedAssignment(points, 101, block_width=10)

    for seed in range(6):
        similarities, labels = assign(centroids)

        best, expected = nearest_centroids(points, centroids)
        assert torch.equal(labels, expected)
        torch.testing.assert_close(similarities, best)
        drift = step * unit_vectors(101, 8, seed=seed)
        centroids = normalize(centroids + drift, dim=1)


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """How many points each comparison with a block has looked at."""
    counts = []
    compare = PrunedAssignment._compare

    def count(self, rows: torch.Tensor, *rest: object) -> None:
        counts.append(rows.numel())
        compare(self, rows, *rest)

    monkeypatch.setattr(PrunedAssignment, "_compare", count)
    return counts


def test_skips_most_products_when_clustered_centroids_barely_move(
    mixture, compared
) -> None:
    points = mixture(1500, 32, 30)
    assign = PrunedAssignment(points, 120, block_width=10)
    assign(points[:120])

    assign(normalize(points[:120] + 1e-3, dim=1))

    assert 1500 <= sum(compared) < 1500 * 12 / 2


def test_bounds_are_as_good_as_new_once_centroids_come_to_rest(
    mixture, compared, monkeypatch
) -> None:
    monkeypatch.setattr(assignment, "_MAX_FRACTION", 0.999)
    points = mixture(1500, 32, 30)
    assign = PrunedAssignment(points, 120, block_width=10)
    assign(points[:120])
    moved = normalize(points[:120] + 0.1, dim=1)
    assign(moved)
    in_motion = sum(compared)
    compared.clear()

    assign(moved)

    assert sum(compared) < in_motion / 2


def test_a_single_far_mover_is_found_by_points_of_other_blocks(
    on_circle,
) -> None:
    points = on_circle(*range(360))
    assign = PrunedAssignment(points, 8, block_width=2)
    assign(on_circle(*range(0, 360, 45)))
    moved = on_circle(183, *range(45, 360, 45))

    _, labels = assign(moved)

    assert labels[183] == 0
    assert torch.equal(labels, nearest_centroids(points, moved)[1])


def test_length_of_a_point_does_not_change_its_cluster(mixture) -> None:
    points = mixture(600, 16, 30)
    lengths = torch.linspace(0.2, 5.0, 600)[:, None]
    assign = PrunedAssignment(points * lengths, 60, block_width=6)
    assign(points[:60])
    centroids = normalize(points[:60] + 0.02, dim=1)

    _, labels = assign(centroids)

    assert torch.equal(labels, nearest_centroids(points, centroids)[1])


def test_no_points_have_no_labels_pruned_either(unit_vectors) -> None:
    assign = PrunedAssignment(unit_vectors(0, 4), 101, block_width=10)

    for seed in range(2):
        similarities, labels = assign(unit_vectors(101, 4, seed=seed))

        assert similarities.numel() == labels.numel() == 0


def test_results_of_one_call_survive_the_next(mixture) -> None:
    points = mixture(300, 16, 30)
    assign = PrunedAssignment(points, 30, block_width=3)
    _, labels = assign(points[:30])
    kept = labels.clone()

    assign(points[30:60])

    assert torch.equal(labels, kept)


@pytest.mark.parametrize(("num_clusters", "num_groups"), [(1, 1), (7, 3)])
def test_order_is_a_permutation(
    unit_vectors, num_clusters: int, num_groups: int
) -> None:
    order = order_by_similarity(unit_vectors(num_clusters, 4), num_groups)

    assert sorted(order.tolist()) == list(range(num_clusters))


def test_order_brings_similar_centroids_together(on_circle) -> None:
    centroids = on_circle(0, 120, 240, 1, 121, 241, 2, 122, 242)

    order = order_by_similarity(centroids, num_groups=3)

    groups = {frozenset(g.tolist()) for g in order.split(3)}
    assert groups == {
        frozenset({0, 3, 6}),
        frozenset({1, 4, 7}),
        frozenset({2, 5, 8}),
    }
