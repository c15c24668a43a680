"""The exhaustive search for the nearest centroid."""

import pytest
import torch

from ssps_plugin.clustering.assignment import (
    SimilarityTile,
    nearest_centroids,
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
