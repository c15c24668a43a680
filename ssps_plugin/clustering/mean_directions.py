"""The mean direction of every cluster's points."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin.distributed import gather_rows, sum_over_ranks

# Points cast to float32 at once.
CHUNK_ROWS = 2**16

# A sum of unit vectors shorter than this has no direction.
SMALLEST_NORM = 1e-6


def mean_directions(
    points: Tensor,
    labels: Tensor,
    similarities: Tensor,
    centroids: Tensor,
    shared: bool = False,
) -> Tensor:
    """Move every centroid to the mean direction of its points.

    A cluster without points starts again from one of the points that lie
    farthest from their own centroids: a better objective than leaving the
    centroid where it attracts nothing. Where a cluster's points cancel out,
    its centroid stays.

    Arguments
    ---------
    points : Tensor
        L2-normalised, shape `(num_points, dim)`, any float dtype.
    labels : Tensor
        Cluster of each point, int64, shape `(num_points,)`.
    similarities : Tensor
        Cosine of each point to its centroid, shape `(num_points,)`.
    centroids : Tensor
        Before the move, float32, shape `(num_clusters, dim)`, alike on all
        ranks.
    shared : bool
        Whether `points` are this rank's share of all. The result is then that
        of the points of all ranks, which must all call.

    Returns
    -------
    Tensor
        L2-normalised, float32, shape `(num_clusters, dim)`; alike on all ranks
        where `shared`.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> similarities = torch.tensor([1.0, 0.6])
    >>> labels = torch.tensor([0, 0])
    >>> mean_directions(points, labels, similarities, torch.eye(2))
    tensor([[0.8944, 0.4472],
            [0.6000, 0.8000]])
    """
    sums = sum_by_label(points, labels, centroids.shape[0])
    counts = torch.bincount(labels, minlength=centroids.shape[0])
    if shared:
        sums, counts = sum_over_ranks(sums), sum_over_ranks(counts)
    norms = sums.norm(dim=1, keepdim=True)
    moved = torch.where(norms > SMALLEST_NORM, sums / norms, centroids)
    empty = (counts == 0).nonzero().squeeze(1)
    if empty.numel():
        farthest = farthest_points(points, similarities, empty.numel(), shared)
        moved[empty] = normalize(farthest, dim=1)
    return moved


def farthest_points(
    points: Tensor, similarities: Tensor, count: int, shared: bool = False
) -> Tensor:
    """Points that lie farthest from their own centroids, farthest first.

    Arguments
    ---------
    points : Tensor
        Shape `(num_points, dim)`, any float dtype.
    similarities : Tensor
        Cosine of each point to its centroid, shape `(num_points,)`.
    count : int
        How many, at most as many as there are points (on all ranks together,
        where `shared`); the same on all ranks.
    shared : bool
        Whether `points` are this rank's share of all. Every rank then returns
        the farthest of all ranks' points.

    Returns
    -------
    Tensor
        Float32, shape `(count, dim)`.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> farthest_points(points, torch.tensor([0.9, 0.1, 0.5]), count=2)
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """
    # A rank's share may be smaller than what all ranks look for.
    own_count = min(count, points.shape[0]) if shared else count
    nearness, places = similarities.topk(own_count, largest=False)
    farthest = points[places].float()
    if not shared:
        return farthest
    nearness, farthest = gather_rows(nearness, farthest)
    # Stable, so that all ranks take the same among equals.
    return farthest[nearness.argsort(stable=True)[:count]]


def sum_by_label(points: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """Sum of this rank's points of each label, the same on every run.

    Arguments
    ---------
    points : Tensor
        Shape `(num_points, dim)`, any float dtype.
    labels : Tensor
        In [0, num_labels), int64, shape `(num_points,)`.
    num_labels : int
        Number of sums.

    Returns
    -------
    Tensor
        Float32, shape `(num_labels, dim)`, zero for a label without points.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> sum_by_label(points, torch.tensor([1, 0, 1]), num_labels=2)
    tensor([[0., 2.],
            [4., 0.]])
    """
    sums = points.new_zeros((num_labels, points.shape[1]), dtype=torch.float32)
    for start in range(0, points.shape[0], CHUNK_ROWS):
        own = labels[start : start + CHUNK_ROWS]
        chunk = points[start : start + CHUNK_ROWS].float()
        # Each adds up in a fixed order on the one kind of device, and in
        # whatever order threads come on the other.
        if points.device.type == "cpu":
            sums.index_add_(0, own, chunk)
        else:
            sums.index_put_((own,), chunk, accumulate=True)
    return sums
