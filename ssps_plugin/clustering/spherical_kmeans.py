"""Spherical k-means, and the points nearest to each point."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssps_plugin.checks import check_whole_number
from ssps_plugin.clustering.assignment import (
    PrunedAssignment,
    nearest_centroids,
    tile_rows,
)
from ssps_plugin.clustering.mean_directions import mean_directions
from ssps_plugin.clustering.top_k import top_k
from ssps_plugin.distributed import gather_rows, share_of_rank
from ssps_plugin.progress import progress_bar

# From centroids to the similarity and label of every point.
_Assignment = Callable[[Tensor], tuple[Tensor, Tensor]]

_ASSIGNMENT_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Points of other dtypes are cast at once; these a few at a time, when needed.
_POINT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Clustering(NamedTuple):
    """Points divided into clusters.

    Arguments
    ---------
    centroids : torch.Tensor
        `(num_clusters, dim)` float32, L2-normalised, the mean direction of
        each cluster.
    labels : torch.Tensor
        `(num_points,)` int64, the index of each point's nearest centroid.
    objective : float
        Mean cosine of a point to its centroid, in [-1, 1].
    """

    centroids: Tensor
    labels: Tensor
    objective: float


class SphericalKMeans:
    """Cluster points on the unit sphere by k-means under the cosine (Lloyd's).

    Every iteration assigns all points to their nearest centroids and moves
    each centroid to the mean direction of its points. One more assignment
    follows the last iteration. A cluster without points starts again from a
    far point, see `mean_directions`.

    With a process group the ranks divide the work. Each assigns its share of
    the points in every iteration, and the sums that move the centroids are
    added up over the ranks. All ranks return the same centroids and labels:
    those of one process, up to the rounding of the sums.

    Arguments
    ---------
    num_clusters : int
        Number of clusters (K), at least 1.
    num_iterations : int
        Iterations from a random start, at least 0.
    assignment_dtype : str
        "float32", or "bfloat16" for faster assignments; the last one is always
        in float32. With `pruning` it has no effect on a CPU: pruning saves
        more there, because many CPUs have no instructions for bfloat16, and it
        is exact.
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
        An argument is out of range.

    Source: Lepage and Dehak, Interspeech 2025 (arXiv 2505.14561): 10
    iterations from random members, centroids L2-normalised after each.

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
        check_whole_number("num_clusters", num_clusters, 1)
        check_whole_number("num_iterations", num_iterations, 0)
        check_whole_number("warm_iterations", warm_iterations, 0)
        if assignment_dtype not in _ASSIGNMENT_DTYPES:
            raise ValueError(
                f"Expected one of {sorted(_ASSIGNMENT_DTYPES)}, got "
                f"{assignment_dtype!r}: change assignment_dtype."
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
        """Cluster the points; with a process group, every rank must call.

        All arguments but `progress` must be the same on all ranks.

        Arguments
        ---------
        points : torch.Tensor
            `(num_points, dim)`, L2-normalised and finite, any float dtype, on
            the device to cluster on. A rank takes a view of its share. Points
            of float64 are copied to float32.
        seed : int
            Seed of the random members.
        initial_centroids : torch.Tensor, optional
            `(num_clusters, dim)`, centroids to start from instead of random
            members. Those of a similar set of points save most iterations.
        num_iterations : int, optional
            Number of iterations of this fit, by default the constructor's
            `num_iterations`, or `warm_iterations` with `initial_centroids`.
        progress : bool
            Show a progress bar.

        Returns
        -------
        Clustering
            On the device of the points. It is the same for the same arguments,
            and on all ranks.

        Raises
        ------
        ValueError
            There are fewer points than clusters, points or initial centroids
            that are not finite or no rows of floats, or initial centroids of
            another shape than those of the clustering.
        """
        if num_iterations is not None:
            check_whole_number("num_iterations", num_iterations, 0)
        points = _checked_rows("points", points)
        if initial_centroids is not None:
            initial_centroids = _checked_rows(
                "initial_centroids", initial_centroids
            )
        self._check_fit(points, initial_centroids)
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
        bar = progress_bar(
            range(num_iterations),
            "k-means",
            unit="iteration",
            disable=not progress,
        )
        for _ in bar:
            similarities, labels = assign(centroids)
            centroids = mean_directions(
                own, labels, similarities, centroids, shared=True
            )
        similarities, labels = gather_rows(*assign_exactly(centroids))
        return Clustering(centroids, labels, similarities.mean().item())

    def _assignments(self, points: Tensor) -> tuple[_Assignment, _Assignment]:
        """Return the assignment of all iterations, and the last one."""
        if self.pruning and points.device.type == "cpu":
            pruned = PrunedAssignment(points, self.num_clusters)
            return pruned, pruned
        dtype = _ASSIGNMENT_DTYPES[self.assignment_dtype]
        return (
            partial(nearest_centroids, points, dtype=dtype),
            partial(nearest_centroids, points),
        )

    def _random_members(self, points: Tensor, seed: int) -> Tensor:
        """Draw distinct points, on the CPU: the same ones on every device."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(points.shape[0], generator=generator)
        members = order[: self.num_clusters].to(points.device)
        return normalize(points[members].float(), dim=1)

    def _check_fit(
        self, points: Tensor, initial_centroids: Tensor | None
    ) -> None:
        if points.shape[0] < self.num_clusters:
            raise ValueError(
                f"Expected at least num_clusters = {self.num_clusters} "
                f"points, got {points.shape[0]}: lower num_clusters."
            )
        expected = (self.num_clusters, points.shape[1])
        if (
            initial_centroids is not None
            and initial_centroids.shape != expected
        ):
            raise ValueError(
                f"Expected initial_centroids of shape {expected}, got "
                f"{tuple(initial_centroids.shape)}: leave them out after a "
                "change of num_clusters or of the dimension."
            )


def nearest_clusters(centroids: Tensor, num_neighbors: int) -> Tensor:
    """Find the nearest other clusters of each cluster, by centroid cosine.

    With a process group every rank must call. Each searches for its share of
    the clusters, and all return the same.

    Arguments
    ---------
    centroids : torch.Tensor
        `(num_clusters, dim)`, L2-normalised, any float dtype; the same on all
        ranks.
    num_neighbors : int
        How many clusters to find for each (M), in [0, num_clusters).

    Returns
    -------
    torch.Tensor
        `(num_clusters, num_neighbors)` int64, the nearest first; never the
        cluster itself.

    Raises
    ------
    ValueError
        A cluster does not have `num_neighbors` others, or centroids are not
        finite or no rows of floats.

    Source: Lepage and Dehak, Interspeech 2025 (arXiv 2505.14561): a
    pseudo-positive comes from one of the M clusters nearest to the anchor's.

    Example
    -------
    >>> centroids = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> nearest_clusters(centroids, num_neighbors=1)
    tensor([[1],
            [0],
            [1]])
    """
    centroids = _checked_rows("centroids", centroids).float()
    num_clusters = centroids.shape[0]
    check_whole_number("num_neighbors", num_neighbors)
    if not 0 <= num_neighbors < max(1, num_clusters):
        raise ValueError(
            f"Expected num_neighbors in [0, {num_clusters}), the number of "
            f"clusters, got {num_neighbors}: lower num_neighbors or raise "
            "num_clusters."
        )
    return nearest_others(centroids, num_neighbors)


def nearest_others(points: Tensor, num_neighbors: int) -> Tensor:
    """Find the nearest other points of each point, by cosine.

    All are compared with all, some at once. With a process group every rank
    must call: each searches for its share of the points, and all return the
    same.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)` float32, L2-normalised; the same on all ranks.
    num_neighbors : int
        How many to find for each, in [0, num_points).

    Returns
    -------
    torch.Tensor
        `(num_points, num_neighbors)` int64, the nearest first; never the
        point itself.

    Example
    -------
    >>> nearest_others(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), 1)
    tensor([[1],
            [0],
            [1]])
    """
    num_points = len(points)
    num_rows = tile_rows(points, num_points)
    # One buffer: new memory of this size costs as much as the search.
    buffer = points.new_empty((num_rows, num_points))
    own = share_of_rank(torch.arange(num_points, device=points.device))
    chunks = []
    for rows in own.split(num_rows):
        similarities = buffer[: len(rows)]  # (rows, num_points)
        torch.mm(points[rows], points.t(), out=similarities)
        similarities.scatter_(1, rows[:, None], -torch.inf)
        chunks.append(top_k(similarities, num_neighbors)[1])
    return gather_rows(torch.cat(chunks))[0]


def _checked_rows(name: str, rows: Tensor) -> Tensor:
    """Check that rows are finite floats; return them in a dtype to work in."""
    is_float = isinstance(rows, Tensor) and rows.is_floating_point()
    if not is_float or rows.dim() != 2:
        found = type(rows).__name__
        if isinstance(rows, Tensor):
            found = f"{rows.dtype} of shape {tuple(rows.shape)}"
        raise ValueError(
            f"Expected {name} of shape (num, dim), floating point, got {found}."
        )
    if rows.dtype not in _POINT_DTYPES:
        rows = rows.float()
    # A sum with NaN or infinity in it is not finite either.
    wrong = ~rows.sum(1, dtype=torch.float32).isfinite()
    if bool(wrong.any()):
        raise ValueError(
            f"Expected finite {name}, got {int(wrong.sum())} of {len(rows)} "
            "rows with NaN or infinity in them, the first is row "
            f"{int(wrong.nonzero()[0])}: leave them out."
        )
    return rows
