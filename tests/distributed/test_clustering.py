"""Clustering shared over two ranks against one that does it all."""

import pytest
import torch
from torch.nn.functional import normalize

from ssps_plugin import ClusteringSampling, PositiveSampler, positive_sampler
from ssps_plugin.clustering import (
    SphericalKMeans,
    nearest_clusters,
    spherical_kmeans,
)

# The GPU's path runs on a CPU too: it is the one without pruning.
PATHS = pytest.mark.parametrize("pruning", [True, False], ids=["cpu", "gpu"])


def random_points(num_points, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_points, dim, generator=generator), dim=1)


def separated_points(num_points):
    """Around the seven axes of their space, and nowhere between."""
    own = torch.arange(num_points) % 7
    noise = 0.1 * random_points(num_points, 7, seed=2)
    return normalize(torch.eye(7)[own] + noise, dim=1)


def at_degrees(*degrees):
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


# Points, clusters and, where some are to be left empty, initial centroids. Of
# an odd number of points the first rank has one more.
CASES = {
    "separated": (separated_points(301), 7, None),
    "random": (random_points(1001, 8), 50, None),
    "several_blocks": (random_points(1501, 8, seed=3), 200, None),
    "half_precision": (random_points(501, 8).half(), 20, None),
    "empty": (
        random_points(301, 6),
        80,
        torch.cat([random_points(20, 6, seed=4), -torch.eye(6).repeat(10, 1)]),
    ),
    "more_empty_than_a_rank_has_points": (
        at_degrees(0.0, 12.0, 30.0, 61.0, 95.0),
        5,
        at_degrees(40.0, 40.0, 40.0, 40.0, 40.0),
    ),
    "a_rank_without_points": (at_degrees(50.0), 1, None),
}


def cluster(name, pruning):
    points, num_clusters, start = CASES[name]
    kmeans = SphericalKMeans(num_clusters, pruning=pruning)
    clustering = kmeans.fit(points, 3, start, num_iterations=4)
    return (
        clustering.centroids.numpy(),
        clustering.labels.tolist(),
        clustering.objective,
    )


def cluster_all(rank, pruning):
    return {name: cluster(name, pruning) for name in CASES}


@PATHS
def test_ranks_cluster_alike_and_as_one_process_does(run_ranks, pruning):
    first, second = run_ranks(cluster_all, pruning)
    for name in CASES:
        centroids, labels, objective = cluster(name, pruning)
        # Bit for bit among the ranks; sums of shares round differently.
        assert first[name][0].tobytes() == second[name][0].tobytes(), name
        assert first[name][1:] == second[name][1:], name
        assert first[name][1] == labels, name
        assert first[name][2] == pytest.approx(objective, abs=1e-5), name
        assert first[name][0] == pytest.approx(centroids, abs=1e-5), name


def restart_by_hand(rank, degrees, pruning):
    start = at_degrees(5.0, 230.0, 95.0)  # the second attracts nothing
    kmeans = SphericalKMeans(3, pruning=pruning)
    clustering = kmeans.fit(at_degrees(*degrees), 0, start, num_iterations=1)
    return clustering.centroids.numpy(), clustering.labels.tolist()


@PATHS
@pytest.mark.parametrize("place", [0, 4], ids=["first", "second"])
def test_an_empty_cluster_restarts_at_the_farthest_point_of_any_rank(
    run_ranks, place, pruning
):
    degrees = [0.0, 10.0, 90.0, 100.0]
    degrees.insert(place, 140.0)
    for centroids, labels in run_ranks(restart_by_hand, degrees, pruning):
        assert centroids[1] == pytest.approx(at_degrees(140.0)[0].numpy())
        # The farthest still counts where it was assigned.
        total = at_degrees(90.0, 100.0, 140.0).sum(0)
        mean = normalize(total, dim=0).numpy()
        assert centroids[2] == pytest.approx(mean, abs=1e-6)
        assert labels[place] == 1


def shares_assigned(rank, pruning):
    """Rows given to each assignment, and whether they are the whole's."""
    points = CASES["random"][0]
    seen = []

    def spy(name):
        assign = getattr(spherical_kmeans, name)

        def spied(share, *arguments, **options):
            is_view = share.untyped_storage().data_ptr() == storage
            seen.append((share.tolist(), is_view))
            return assign(share, *arguments, **options)

        setattr(spherical_kmeans, name, spied)

    storage = points.untyped_storage().data_ptr()
    for name in ("PrunedAssignment", "nearest_centroids"):
        spy(name)
    cluster("random", pruning)
    return seen


@PATHS
def test_a_rank_assigns_its_share_only_and_copies_no_points(run_ranks, pruning):
    points = CASES["random"][0]
    halves = (points[:501].tolist(), points[501:].tolist())
    for half, seen in zip(
        halves, run_ranks(shares_assigned, pruning), strict=True
    ):
        # Pruning keeps what it is given; without it, 4 iterations and the last.
        assert seen == [(half, True)] * (1 if pruning else 5)


def rows_searched(rank):
    rows, search = [], spherical_kmeans.top_k

    def spied(values, count):
        rows.append(len(values))
        return search(values, count)

    spherical_kmeans.top_k = spied
    found = nearest_clusters(random_points(1025, 8), 5).tolist()
    return found, sum(rows), nearest_clusters(torch.eye(2)[:1], 0).shape


def test_a_rank_searches_neighbours_of_its_share_of_the_clusters(run_ranks):
    expected = nearest_clusters(random_points(1025, 8), 5).tolist()
    for found, num_rows, of_one_cluster in run_ranks(rows_searched):
        assert found == expected
        assert num_rows in (512, 513)
        assert of_one_cluster == (1, 0)


def prepared_buffers(rank, whitening):
    # What the first rank sends at the end is no substitute for agreement.
    positive_sampler.broadcast_buffers = lambda strategy: None
    strategy = ClusteringSampling(30, 3, whitening=whitening)
    sampler = PositiveSampler(strategy, 210, 8, 1, start_epoch=1)
    sampler.bind([str(i) for i in range(211)])
    index = torch.arange(rank, 201, 2)  # the last ten are never seen
    references = random_points(201, 8)[index]
    sampler.warm_start([(index, references, torch.ones(len(index), 1))])
    sampler.begin_epoch(1)
    buffers = strategy.named_buffers()
    return {name: buffer.numpy().tobytes() for name, buffer in buffers}


@pytest.mark.parametrize("whitening", [0.0, 0.5])
def test_ranks_agree_bit_for_bit_before_the_first_sends_its_clusters(
    run_ranks, whitening
):
    first, second = run_ranks(prepared_buffers, whitening)
    assert {"centroids", "clusters", "neighbors"} <= set(first)
    assert first == second
