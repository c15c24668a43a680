"""Spherical k-means against a slow reference, and the nearest clusters."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin.clustering import (
    SphericalKMeans,
    assignment,
    nearest_clusters,
)

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


@PATHS
def test_same_seed_same_clusters_and_another_seed_others(
    unit_vectors, pruning: bool
) -> None:
    points = unit_vectors(500, 8)
    kmeans = SphericalKMeans(20, pruning=pruning)

    first, again, other = (kmeans.fit(points, seed) for seed in (7, 7, 8))

    assert torch.equal(first.centroids, again.centroids)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


def test_leaves_the_global_random_state_alone(unit_vectors) -> None:
    state = torch.get_rng_state()

    SphericalKMeans(5).fit(unit_vectors(50, 8), seed=0)

    assert torch.equal(state, torch.get_rng_state())


def test_starts_from_distinct_members(unit_vectors) -> None:
    points = unit_vectors(30, 8)

    clustering = SphericalKMeans(30, num_iterations=0).fit(points, seed=0)

    assert sorted(clustering.labels.tolist()) == list(range(30))


@PATHS
def test_warm_start_is_no_worse_than_ten_cold_iterations(
    unit_vectors, mixture, pruning: bool
) -> None:
    points = mixture(4000, 32, 60)
    drift = 0.2 * unit_vectors(4000, 32, seed=9)
    kmeans = SphericalKMeans(200, pruning=pruning)
    before = kmeans.fit(points, seed=0)
    points = normalize(points + drift, dim=1)

    cold = kmeans.fit(points, seed=1)
    warm = kmeans.fit(points, seed=1, initial_centroids=before.centroids)

    assert warm.objective >= cold.objective


def test_initial_centroids_are_not_written_to(unit_vectors) -> None:
    points = unit_vectors(100, 8)
    start = points[:5].clone()

    SphericalKMeans(5).fit(points, 0, start, num_iterations=3)

    assert torch.equal(start, points[:5])


@PATHS
def test_duplicates_fill_fewer_clusters_without_error(
    on_circle, pruning: bool
) -> None:
    points = on_circle(0, 90).repeat(6, 1)

    clustering = SphericalKMeans(5, pruning=pruning).fit(points, seed=0)

    assert clustering.centroids.shape == (5, 2)
    assert clustering.centroids.isfinite().all()
    assert clustering.objective == pytest.approx(1.0)
    assert clustering.labels[0] != clustering.labels[1]


@PATHS
def test_as_many_clusters_as_points_gives_each_its_own(
    unit_vectors, pruning: bool
) -> None:
    points = unit_vectors(40, 8)

    clustering = SphericalKMeans(40, pruning=pruning).fit(points, seed=0)

    assert sorted(clustering.labels.tolist()) == list(range(40))
    assert clustering.objective == pytest.approx(1.0)


@PATHS
def test_one_cluster_is_the_mean_direction(unit_vectors, pruning: bool) -> None:
    points = unit_vectors(200, 8)

    clustering = SphericalKMeans(1, pruning=pruning).fit(points, seed=0)

    mean = normalize(points.mean(dim=0, keepdim=True), dim=1)
    torch.testing.assert_close(clustering.centroids, mean)
    assert not clustering.labels.any()


@PATHS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_points_cluster_like_their_float32_values(
    mixture, pruning: bool, dtype: torch.dtype
) -> None:
    points = mixture(600, 16, 20).to(dtype)
    kmeans = SphericalKMeans(50, pruning=pruning)

    half, full = kmeans.fit(points, 0), kmeans.fit(points.float(), 0)

    assert torch.equal(half.labels, full.labels)
    assert torch.equal(half.centroids, full.centroids)


@PATHS
def test_double_precision_points_cluster_like_their_float32_values(
    mixture, pruning: bool
) -> None:
    points = mixture(600, 16, 20).double()
    kmeans = SphericalKMeans(50, pruning=pruning)

    double, single = kmeans.fit(points, 0), kmeans.fit(points.float(), 0)
    warm = kmeans.fit(points, 0, double.centroids.double())

    assert torch.equal(double.labels, single.labels)
    assert torch.equal(double.centroids, single.centroids)
    assert double.centroids.dtype == torch.float32
    assert warm.objective >= double.objective - 1e-6


@PATHS
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_are_counted_and_refused(
    unit_vectors, pruning: bool, bad: float
) -> None:
    points = unit_vectors(20, 4)
    points[7, 1] = points[9, 0] = bad

    with pytest.raises(ValueError, match=r"2 of 20 rows .* is row 7: leave"):
        SphericalKMeans(3, pruning=pruning).fit(points, seed=0)
    with pytest.raises(
        ValueError, match="finite initial_centroids, got 2 of 3"
    ):
        SphericalKMeans(3).fit(unit_vectors(9, 4), 0, points[7:10])
    with pytest.raises(ValueError, match="finite centroids, got 2 of 20 rows"):
        nearest_clusters(points, 2)


@pytest.mark.parametrize(
    "points",
    [torch.ones(5, 3).long(), torch.ones(5), torch.ones(5, 1, 3), [[1.0]]],
    ids=["integers", "one dimension", "three dimensions", "a list"],
)
def test_what_is_no_row_of_floats_is_refused(points) -> None:
    with pytest.raises(ValueError, match=r"\(num, dim\), floating point, got"):
        SphericalKMeans(2).fit(points, seed=0)
    with pytest.raises(ValueError, match=r"\(num, dim\), floating point, got"):
        nearest_clusters(points, 1)


@PATHS
@pytest.mark.parametrize("num_zero", [1, 11, 12])
def test_points_without_a_direction_are_clustered_without_nan(
    unit_vectors, pruning: bool, num_zero: int
) -> None:
    points = unit_vectors(12, 4)
    points[:num_zero] = 0

    for num_clusters in (1, 3, 12):
        kmeans = SphericalKMeans(num_clusters, pruning=pruning)
        centroids, labels, objective = kmeans.fit(points, seed=0)

        assert centroids.isfinite().all()
        assert (labels >= 0).all()
        assert (labels < num_clusters).all()
        assert math.isfinite(objective)


@PATHS
def test_identical_points_are_clustered_without_nan(
    unit_vectors, pruning: bool
) -> None:
    points = unit_vectors(1, 6).repeat(30, 1)

    for num_clusters in (1, 8, 30):
        kmeans = SphericalKMeans(num_clusters, pruning=pruning)
        centroids, labels, objective = kmeans.fit(points, seed=0)

        assert centroids.isfinite().all()
        assert (labels >= 0).all()
        assert (labels < num_clusters).all()
        assert objective == pytest.approx(1.0)


@PATHS
def test_bfloat16_assignment_keeps_the_objective(
    mixture, pruning: bool
) -> None:
    points = mixture(2000, 32, 60)

    exact, cheap = (
        SphericalKMeans(100, assignment_dtype=dtype, pruning=pruning).fit(
            points, seed=0
        )
        for dtype in ("float32", "bfloat16")
    )

    assert cheap.objective == pytest.approx(exact.objective, abs=0.001)


def test_last_assignment_after_bfloat16_ones_is_exact(unit_vectors) -> None:
    points = unit_vectors(2000, 32)
    kmeans = SphericalKMeans(100, assignment_dtype="bfloat16", pruning=False)

    centroids, labels, _ = kmeans.fit(points, seed=0)

    exact = points.double() @ centroids.double().t()
    assert torch.equal(labels, exact.argmax(dim=1))


def test_more_clusters_than_points_is_refused(unit_vectors) -> None:
    with pytest.raises(ValueError, match="6 points, got 5: lower num_clusters"):
        SphericalKMeans(6).fit(unit_vectors(5, 8), seed=0)


def test_initial_centroids_of_another_shape_are_refused(unit_vectors) -> None:
    with pytest.raises(ValueError, match=r"\(3, 8\), got \(4, 8\)"):
        SphericalKMeans(3).fit(unit_vectors(9, 8), 0, unit_vectors(4, 8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_clusters": 0},
        {"num_clusters": 2, "num_iterations": -1},
        {"num_clusters": 2, "warm_iterations": -1},
        {"num_clusters": 2, "assignment_dtype": "int8"},
        {"num_clusters": 2.0},
        {"num_clusters": "8"},
        {"num_clusters": True},
        {"num_clusters": 2, "num_iterations": 1.5},
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments: dict) -> None:
    with pytest.raises(ValueError, match=list(arguments)[-1]):
        SphericalKMeans(**arguments)


def test_objective_is_that_of_faiss_over_all_points_from_the_same_start() -> (
    None
):
    faiss = pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 16, generator=generator)
    points = centres.repeat(300, 1) + torch.randn(6000, 16, generator=generator)
    points = normalize(points, dim=1)
    start = points[torch.randperm(6000, generator=generator)[:20]]
    # 300 points a centroid: faiss would take 256 of them by default.
    reference = faiss.Kmeans(
        16, 20, niter=10, spherical=True, max_points_per_centroid=6000
    )
    reference.train(points.numpy(), init_centroids=start.numpy())
    centroids = torch.from_numpy(reference.centroids)
    expected = (points @ centroids.T).amax(1).mean()
    ours = SphericalKMeans(20).fit(
        points, seed=0, initial_centroids=start, num_iterations=10
    )
    assert ours.objective == pytest.approx(float(expected), abs=1e-3)


def test_neighbours_on_the_circle_by_hand(on_circle) -> None:
    neighbors = nearest_clusters(on_circle(0, 10, 35, 100), num_neighbors=2)

    assert neighbors.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("num_neighbors", [1, 5, 299])
def test_equals_brute_force_over_several_chunks(
    unit_vectors, monkeypatch, num_neighbors: int
) -> None:
    monkeypatch.setattr(assignment, "_CPU_TILE_ELEMENTS", 1)
    centroids = unit_vectors(300, 16)

    neighbors = nearest_clusters(centroids, num_neighbors)

    similarities = (centroids.double() @ centroids.double().t()).tolist()
    for own, row in enumerate(similarities):
        others = [cluster for cluster in range(300) if cluster != own]
        others.sort(key=row.__getitem__, reverse=True)
        assert neighbors[own].tolist() == others[:num_neighbors]


def test_a_cluster_is_not_its_own_neighbour_even_with_a_twin(
    on_circle,
) -> None:
    neighbors = nearest_clusters(on_circle(0, 0, 90), num_neighbors=1)

    assert neighbors[:2].tolist() == [[1], [0]]


def test_no_neighbours_asked_for_gives_none(unit_vectors) -> None:
    assert nearest_clusters(unit_vectors(4, 8), 0).shape == (4, 0)
    assert nearest_clusters(unit_vectors(1, 8), 0).shape == (1, 0)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64]
)
def test_centroids_of_any_float_dtype_are_compared_in_float32(
    unit_vectors, dtype: torch.dtype
) -> None:
    centroids = unit_vectors(50, 16).to(dtype)

    assert torch.equal(
        nearest_clusters(centroids, 3), nearest_clusters(centroids.float(), 3)
    )


@pytest.mark.parametrize("num_neighbors", [-1, 4, 5])
def test_more_neighbours_than_others_is_refused(
    unit_vectors, num_neighbors: int
) -> None:
    with pytest.raises(ValueError, match=rf"\[0, 4\).*got {num_neighbors}"):
        nearest_clusters(unit_vectors(4, 8), num_neighbors)
