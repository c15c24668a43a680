"""Centroids moved to the mean direction of their points."""

import torch

from ssps_plugin.clustering import mean_directions as module
from ssps_plugin.clustering.mean_directions import (
    mean_directions,
    sum_by_label,
)


def test_mean_by_hand(on_circle) -> None:
    points = on_circle(0, 40, 90, 110)
    labels = torch.tensor([0, 0, 1, 1])

    moved = mean_directions(points, labels, torch.ones(4), on_circle(0, 180))

    torch.testing.assert_close(moved, on_circle(20, 100), atol=1e-6, rtol=0)


def test_empty_clusters_restart_at_different_far_points(on_circle) -> None:
    points = on_circle(0, 10, 50, 80)
    labels = torch.zeros(4, dtype=torch.int64)
    start = on_circle(0, 180, 270)

    moved = mean_directions(points, labels, points[:, 0], start)

    torch.testing.assert_close(moved[1:], on_circle(80, 50))


def test_points_that_cancel_out_leave_their_centroid_in_place(
    on_circle,
) -> None:
    points = on_circle(90, 270)
    labels = torch.zeros(2, dtype=torch.int64)

    moved = mean_directions(points, labels, torch.zeros(2), on_circle(0))

    assert torch.equal(moved, on_circle(0))


def test_chunks_add_up(unit_vectors, monkeypatch) -> None:
    points = unit_vectors(100, 4)
    labels = torch.arange(100) % 3
    whole = mean_directions(points, labels, torch.ones(100), points[:3])

    monkeypatch.setattr(module, "_CHUNK_ROWS", 7)
    parts = mean_directions(points, labels, torch.ones(100), points[:3])

    torch.testing.assert_close(whole, parts)


def test_sums_do_not_depend_on_the_number_of_threads(unit_vectors) -> None:
    points = unit_vectors(60_000, 16)
    labels = torch.arange(60_000) % 3
    alone = sum_by_label(points, labels, 3)

    torch.set_num_threads(4)

    for _ in range(5):
        assert torch.equal(sum_by_label(points, labels, 3), alone)
