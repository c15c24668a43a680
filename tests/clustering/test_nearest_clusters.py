"""The nearest other clusters."""

import pytest
import torch

from ssps_plugin.clustering import assignment, nearest_clusters, top_k


def test_neighbours_on_the_circle_by_hand(on_circle) -> None:
    neighbors = nearest_clusters(on_circle(0, 10, 35, 100), num_neighbors=2)

    assert neighbors.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("num_neighbors", [1, 5, 299])
def test_equals_brute_force_over_several_chunks(
    unit_vectors, monkeypatch, num_neighbors: int
) -> None:
    monkeypatch.setattr(assignment, "CPU_TILE_ELEMENTS", 1)
    centroids = unit_vectors(300, 16)

    neighbors = nearest_clusters(centroids, num_neighbors)

    similarities = (centroids.double() @ centroids.double().t()).tolist()
    for own, row in enumerate(similarities):
        others = [cluster for cluster in range(300) if cluster != own]
        others.sort(key=row.__getitem__, reverse=True)
        assert neighbors[own].tolist() == others[:num_neighbors]


@pytest.mark.parametrize("num_columns", [1024, 1030, 1087])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_top_k_by_blocks_equals_sorting_whole_rows(
    unit_vectors, num_columns: int, count: int
) -> None:
    # The largest values side by side, at the end and at the start.
    values = unit_vectors(50, num_columns)
    values[0, 64:70] += 2
    values[1, -6:] += 2
    values[2, :3] += 2

    order = values.argsort(dim=1, descending=True)
    found, columns = top_k(values, count)
    assert torch.equal(columns, order[:, :count])
    assert torch.equal(found, values.gather(1, columns))


def test_a_cluster_is_not_its_own_neighbour_even_with_a_twin(
    on_circle,
) -> None:
    neighbors = nearest_clusters(on_circle(0, 0, 90), num_neighbors=1)

    assert neighbors[:2].tolist() == [[1], [0]]


def test_no_neighbours_asked_for_gives_none(unit_vectors) -> None:
    assert nearest_clusters(unit_vectors(4, 8), 0).shape == (4, 0)
    assert nearest_clusters(unit_vectors(1, 8), 0).shape == (1, 0)


def test_half_precision_centroids_are_compared_in_float32(
    unit_vectors,
) -> None:
    centroids = unit_vectors(50, 16).half()

    assert torch.equal(
        nearest_clusters(centroids, 3), nearest_clusters(centroids.float(), 3)
    )


@pytest.mark.parametrize("num_neighbors", [-1, 4, 5])
def test_more_neighbours_than_others_is_refused(
    unit_vectors, num_neighbors: int
) -> None:
    with pytest.raises(ValueError, match=rf"\[0, 4\).*got {num_neighbors}"):
        nearest_clusters(unit_vectors(4, 8), num_neighbors)
