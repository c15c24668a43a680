"""Whole iterations, against a slow reference and a hand-computed case."""

import math

import pytest
import torch
from torch import Tensor

from ssps_plugin.clustering import SphericalKMeans

# The GPU's path runs on a CPU too: it is the one without pruning.
PATHS = pytest.mark.parametrize("pruning", [True, False], ids=["cpu", "gpu"])


def lloyd_reference(
    points: Tensor, start: Tensor, num_iterations: int
) -> tuple[Tensor, Tensor]:
    """Lloyd's spherical k-means in float64, one point at a time."""
    rows = points.double().tolist()
    centroids = start.double().tolist()
    dim = len(rows[0])

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    def nearest(row: list[float]) -> int:
        cosines = [cosine(row, centroid) for centroid in centroids]
        return cosines.index(max(cosines))

    for _ in range(num_iterations):
        labels = [nearest(row) for row in rows]
        fits = [
            cosine(row, centroids[label])
            for row, label in zip(rows, labels, strict=True)
        ]
        farthest = sorted(range(len(rows)), key=fits.__getitem__)
        for cluster in range(len(centroids)):
            own = [
                row
                for row, label in zip(rows, labels, strict=True)
                if label == cluster
            ] or [rows[farthest.pop(0)]]
            total = [sum(row[i] for row in own) for i in range(dim)]
            norm = math.sqrt(cosine(total, total))
            centroids[cluster] = [x / norm for x in total]
    labels = [nearest(row) for row in rows]
    return torch.tensor(centroids), torch.tensor(labels)


@PATHS
def test_one_iteration_on_the_circle_by_hand(on_circle, pruning: bool) -> None:
    points = on_circle(0, 20, 40, 180, 200)
    kmeans = SphericalKMeans(2, pruning=pruning)

    # 0, 20 and 40 degrees are nearer to 0, the others to 90.
    clustering = kmeans.fit(points, 0, on_circle(0, 90), num_iterations=1)

    torch.testing.assert_close(
        clustering.centroids, on_circle(20, 190), atol=1e-6, rtol=0
    )
    assert clustering.labels.tolist() == [0, 0, 0, 1, 1]
    cosines = on_circle(20, 0, 20, 10, 10)[:, 0]
    assert clustering.objective == pytest.approx(cosines.mean().item())


@PATHS
@pytest.mark.parametrize("num_iterations", [0, 1, 8])
@pytest.mark.parametrize("structured", [True, False])
def test_equals_the_slow_reference(
    unit_vectors, mixture, pruning: bool, num_iterations: int, structured: bool
) -> None:
    points = mixture(300, 6, 30) if structured else unit_vectors(300, 6)
    start = unit_vectors(80, 6, seed=3)
    kmeans = SphericalKMeans(80, pruning=pruning)

    clustering = kmeans.fit(points, 0, start, num_iterations=num_iterations)

    centroids, labels = lloyd_reference(points, start, num_iterations)
    assert torch.equal(clustering.labels, labels)
    torch.testing.assert_close(
        clustering.centroids, centroids.float(), atol=1e-5, rtol=0
    )


def test_uses_every_point_at_300_points_a_cluster(unit_vectors) -> None:
    points = unit_vectors(1500, 6)
    start = points[:5]

    clustering = SphericalKMeans(5).fit(points, 0, start, num_iterations=3)

    centroids, labels = lloyd_reference(points, start, 3)
    assert torch.equal(clustering.labels, labels)
    torch.testing.assert_close(
        clustering.centroids, centroids.float(), atol=1e-5, rtol=0
    )


def test_both_paths_agree_from_the_same_seed(mixture) -> None:
    points = mixture(3000, 32, 100)

    pruned = SphericalKMeans(400).fit(points, seed=3)
    exhaustive = SphericalKMeans(400, pruning=False).fit(points, seed=3)

    assert torch.equal(pruned.labels, exhaustive.labels)
    torch.testing.assert_close(pruned.centroids, exhaustive.centroids)
    assert pruned.objective == pytest.approx(exhaustive.objective)


@PATHS
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_cluster_restarts_at_the_farthest_point(
    on_circle, pruning: bool, empty: int
) -> None:
    points = on_circle(0, 10, 90, 100, 140)
    start = on_circle(5, 95).tolist()
    start.insert(empty, on_circle(230).squeeze(0).tolist())
    kmeans = SphericalKMeans(3, pruning=pruning)

    clustering = kmeans.fit(points, 0, torch.tensor(start), num_iterations=1)

    torch.testing.assert_close(
        clustering.centroids[empty], on_circle(140).squeeze(0)
    )
    assert clustering.labels[4] == empty
