"""The mean direction of every cluster's points."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin.distributed import gather_rows, sum_over_ranks

# Points cast to float32 at once.
_CHUNK_ROWS = 2**16

# A sum of unit vectors that is shorter than this has no direction.
_SMALLEST_NORM = 1e-6


def mean_directions(
    points: Tensor,
    labels: Tensor,
    similarities: Tensor,
    centroids: Tensor,
    shared: bool = False,
) -> Tensor:
    """Move every centroid to the mean direction of its points.

    A cluster without points starts again from one of the points that are
    farthest from their own centroids. That gives a better objective than a
    centroid that stays where it attracts nothing. If a cluster's points cancel
    out, its centroid stays.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, L2-normalised, any float dtype.
    labels : torch.Tensor
        `(num_points,)` int64, the cluster of each point.
    similarities : torch.Tensor
        `(num_points,)`, the cosine of each point to its centroid.
    centroids : torch.Tensor
        `(num_clusters, dim)` float32, before the move; the same on all ranks.
    shared : bool
        Whether `points` are only this rank's share. The result is then that of
        all ranks' points, and every rank must call.

    Returns
    -------
    torch.Tensor
        `(num_clusters, dim)` float32, L2-normalised; the same on all ranks if
        `shared`.

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
    moved = torch.where(norms > _SMALLEST_NORM, sums / norms, centroids)
    empty = (counts == 0).nonzero().squeeze(1)
    if empty.numel():
        farthest = farthest_points(points, similarities, empty.numel(), shared)
        moved[empty] = normalize(farthest, dim=1)
    return moved


def farthest_points(
    points: Tensor, similarities: Tensor, count: int, shared: bool = False
) -> Tensor:
    """Return the points that are farthest from their own centroids.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, any float dtype.
    similarities : torch.Tensor
        `(num_points,)`, the cosine of each point to its centroid.
    count : int
        How many points to return, at most as many as there are (on all ranks
        together, if `shared`); the same on all ranks.
    shared : bool
        Whether `points` are only this rank's share. The result is then that of
        all ranks' points, and every rank must call.

    Returns
    -------
    torch.Tensor
        `(count, dim)` float32, the farthest first.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> farthest_points(points, torch.tensor([0.9, 0.1, 0.5]), count=2)
    tensor([[0.6000, 0.8000],
            [0.0000, 1.0000]])
    """
    # A rank may have fewer points than all ranks look for.
    own_count = min(count, points.shape[0]) if shared else count
    nearness, places = similarities.topk(own_count, largest=False)
    farthest = points[places].float()
    if not shared:
        return farthest
    nearness, farthest = gather_rows(nearness, farthest)
    # Stable, so that all ranks take the same ones among equals.
    return farthest[nearness.argsort(stable=True)[:count]]


def sum_by_label(points: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """Sum the points of each label, to the same bits in every run.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, any float dtype.
    labels : torch.Tensor
        `(num_points,)` int64 in [0, num_labels).
    num_labels : int
        Number of sums.

    Returns
    -------
    torch.Tensor
        `(num_labels, dim)` float32, zero for a label without points.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> sum_by_label(points, torch.tensor([1, 0, 1]), num_labels=2)
    tensor([[0., 2.],
            [4., 0.]])
    """
    sums = points.new_zeros((num_labels, points.shape[1]), dtype=torch.float32)
    for start in range(0, points.shape[0], _CHUNK_ROWS):
        own = labels[start : start + _CHUNK_ROWS]
        chunk = points[start : start + _CHUNK_ROWS].float()
        # Each of the two adds up in a fixed order on one kind of device only,
        # and in the order of its threads on the other.
        if points.device.type == "cpu":
            sums.index_add_(0, own, chunk)
        else:
            sums.index_put_((own,), chunk, accumulate=True)
    return sums
