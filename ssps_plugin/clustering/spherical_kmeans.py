"""Spherical k-means, and the clusters nearest to each cluster."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from ssps_plugin.clustering.assignment import (
    PrunedAssignment,
    nearest_centroids,
    tile_rows,
)
from ssps_plugin.clustering.mean_directions import mean_directions
from ssps_plugin.clustering.top_k import top_k
from ssps_plugin.distributed import gather_rows, share_of_rank

Assignment = Callable[[Tensor], tuple[Tensor, Tensor]]

ASSIGNMENT_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Clustering(NamedTuple):
    """Points divided into clusters.

    Arguments
    ---------
    centroids : Tensor
        L2-normalised mean direction of each cluster, float32, shape
        `(num_clusters, dim)`.
    labels : Tensor
        Index of each point's nearest centroid, int64, shape `(num_points,)`.
    objective : float
        Mean cosine of a point to its centroid, in [-1, 1].
    """

    centroids: Tensor
    labels: Tensor
    objective: float


class SphericalKMeans:
    """K-means on the unit sphere: Lloyd's iterations under the cosine.

    Source: Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for
    Robust Self-Supervised Speaker Verification", Interspeech 2025
    (arXiv 2505.14561): 10 iterations, centroids initialised from random
    members and L2-normalised after each.

    Every iteration assigns *all* points to their nearest centroid and moves
    each centroid to the mean direction of its points; a last assignment
    follows. A cluster left without a point starts again from one of the
    points that lie farthest from their own centroids, which gives a better
    objective than leaving its centroid where it attracts nothing.

    With a process group the ranks divide the work: each assigns its share of
    the points in every iteration, and what moves the centroids is added up
    over the ranks. All end with the same centroids and labels, which are one
    process's up to the rounding of the sums.

    Arguments
    ---------
    num_clusters : int
        Number of clusters (K), at least 1.
    num_iterations : int
        Iterations from a random start, at least 0.
    assignment_dtype : str
        "float32", or "bfloat16" for a cheaper search in all assignments but
        the last, which is always in float32. On a CPU `pruning` takes its
        place: it saves more there, where products in bfloat16 are slower than
        in float32 for want of instructions, and stays exact.
    warm_iterations : int
        Iterations when `fit` is given initial centroids, at least 0. One is
        enough to reach the objective of ten from a random start on points
        that have drifted by as much as 0.3 of their length.
    pruning : bool
        On a CPU, skip products that cannot change the result. On a GPU it has
        no effect: what is left to compute would be too scattered.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    >>> kmeans = SphericalKMeans(num_clusters=2)
    >>> first, second, third = kmeans.fit(points, seed=0).labels.tolist()
    >>> first == second, first == third
    (True, False)
    """

    def __init__(
        self,
        num_clusters: int,
        num_iterations: int = 10,
        assignment_dtype: str = "float32",
        warm_iterations: int = 1,
        pruning: bool = True,
    ) -> None:
        if num_clusters < 1:
            raise ValueError(
                f"num_clusters must be at least 1, got {num_clusters}"
            )
        if min(num_iterations, warm_iterations) < 0:
            raise ValueError(
                "num_iterations and warm_iterations must be at least 0, got "
                f"{num_iterations} and {warm_iterations}"
            )
        if assignment_dtype not in ASSIGNMENT_DTYPES:
            raise ValueError(
                "assignment_dtype must be one of "
                f"{sorted(ASSIGNMENT_DTYPES)}, got {assignment_dtype!r}"
            )
        self.num_clusters = num_clusters
        self.num_iterations = num_iterations
        self.assignment_dtype = assignment_dtype
        self.warm_iterations = warm_iterations
        self.pruning = pruning

    @torch.no_grad()
    def fit(
        self,
        points: Tensor,
        seed: int,
        initial_centroids: Tensor | None = None,
        num_iterations: int | None = None,
        progress: bool = False,
    ) -> Clustering:
        """Cluster the points; with a process group, on every rank at once.

        Arguments
        ---------
        points : Tensor
            L2-normalised and finite, shape `(num_points, dim)`, any float
            dtype; on the device where the clustering is to be done. All of
            them on every rank, as all other arguments but `progress`: a rank
            takes a view of its share.
        seed : int
            Decides which points the centroids start from.
        initial_centroids : Tensor, optional
            Centroids to start from instead, shape `(num_clusters, dim)`:
            those of a similar set of points save most iterations.
        num_iterations : int, optional
            Instead of `num_iterations` or `warm_iterations`.
        progress : bool
            Show a progress bar.

        Returns
        -------
        Clustering
            On the points' device. The same for the same arguments, and on
            all ranks.

        Raises
        ------
        ValueError
            If there are fewer points than clusters, or the initial centroids
            have another shape than the clustering's.
        """
        self._check(points, initial_centroids)
        if initial_centroids is None:
            centroids = self._random_members(points, seed)
            default_iterations = self.num_iterations
        else:
            centroids = initial_centroids.to(points.device, torch.float32)
            centroids = normalize(centroids, dim=1)
            default_iterations = self.warm_iterations
        if num_iterations is None:
            num_iterations = default_iterations
        own = share_of_rank(points)
        assign, assign_exactly = self._assignments(own)
        bar = tqdm(range(num_iterations), "k-means", disable=not progress)
        for _ in bar:
            similarities, labels = assign(centroids)
            centroids = mean_directions(
                own, labels, similarities, centroids, shared=True
            )
        similarities, labels = gather_rows(*assign_exactly(centroids))
        return Clustering(centroids, labels, similarities.mean().item())

    def _assignments(self, points: Tensor) -> tuple[Assignment, Assignment]:
        """How to assign in all iterations, and how to assign at last."""
        if self.pruning and points.device.type == "cpu":
            pruned = PrunedAssignment(points, self.num_clusters)
            return pruned, pruned
        dtype = ASSIGNMENT_DTYPES[self.assignment_dtype]
        return (
            partial(nearest_centroids, points, dtype=dtype),
            partial(nearest_centroids, points),
        )

    def _random_members(self, points: Tensor, seed: int) -> Tensor:
        """Distinct points, drawn on the CPU: the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(points.shape[0], generator=generator)
        members = order[: self.num_clusters].to(points.device)
        return normalize(points[members].float(), dim=1)

    def _check(self, points: Tensor, initial_centroids: Tensor | None) -> None:
        if points.shape[0] < self.num_clusters:
            raise ValueError(
                f"expected at least num_clusters = {self.num_clusters} "
                f"points, got {points.shape[0]}: lower num_clusters"
            )
        expected = (self.num_clusters, points.shape[1])
        if (
            initial_centroids is not None
            and initial_centroids.shape != expected
        ):
            raise ValueError(
                f"expected initial centroids of shape {expected}, got "
                f"{tuple(initial_centroids.shape)}: leave them out after a "
                "change of num_clusters or of the dimension"
            )


def nearest_clusters(centroids: Tensor, num_neighbors: int) -> Tensor:
    """Nearest other clusters of each cluster, by centroid cosine.

    Source: Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for
    Robust Self-Supervised Speaker Verification", Interspeech 2025
    (arXiv 2505.14561): a pseudo-positive comes from one of the M clusters
    nearest to the anchor's.

    With a process group every rank must call: each searches for its share of
    the clusters, and all return the same.

    Arguments
    ---------
    centroids : Tensor
        L2-normalised, shape `(num_clusters, dim)`, any float dtype; alike on
        all ranks.
    num_neighbors : int
        How many clusters to return for each (M), in [0, num_clusters).

    Returns
    -------
    Tensor
        Cluster indices by descending similarity, never the cluster itself,
        int64, shape `(num_clusters, num_neighbors)`.

    Raises
    ------
    ValueError
        If a cluster does not have `num_neighbors` others.

    Example
    -------
    >>> centroids = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> nearest_clusters(centroids, num_neighbors=1)
    tensor([[1],
            [0],
            [1]])
    """
    num_clusters = centroids.shape[0]
    if not 0 <= num_neighbors < max(1, num_clusters):
        raise ValueError(
            f"num_neighbors must lie in [0, {num_clusters}), the number of "
            f"clusters, got {num_neighbors}: lower num_neighbors or raise "
            "num_clusters"
        )
    centroids = centroids.float()
    num_rows = tile_rows(centroids, num_clusters)
    # One buffer: new memory of this size costs as much as the search.
    buffer = centroids.new_empty((num_rows, num_clusters))
    own = share_of_rank(torch.arange(num_clusters, device=centroids.device))
    chunks = []
    for rows in own.split(num_rows):
        similarities = buffer[: len(rows)]  # (rows, num_clusters)
        torch.mm(centroids[rows], centroids.t(), out=similarities)
        similarities.scatter_(1, rows[:, None], -torch.inf)
        chunks.append(top_k(similarities, num_neighbors)[1])
    return gather_rows(torch.cat(chunks))[0]
