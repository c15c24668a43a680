"""Assign points to their nearest centroids, exactly and in bounded memory."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ssps_plugin.clustering.mean_directions import mean_directions
from ssps_plugin.clustering.top_k import BLOCK_WIDTH

# Similarities held at once. Measured on one core, products of 512 rows are as
# fast as any, and their results still in the cache when the search for the
# maximum comes; a GPU needs few, large kernels.
_CPU_TILE_ELEMENTS = 2**24
_CPU_TILE_ROWS = 512
_GPU_TILE_ELEMENTS = 2**27
_GPU_TILE_ROWS = 2**20

# Bounds kept per point: less memory than a point of dimension 96.
_MAX_BLOCKS = 96
# Above this fraction of blocks to compare with, one product over all centroids
# is faster than products over gathered points.
_MAX_FRACTION = 0.6
# More than what rounding may do to an angle, in radians.
_SLACK = 1e-3
# Points gathered at once.
_GATHERED_ROWS = 1024
# Points from which the fraction is estimated.
_SAMPLE_SIZE = 4096


def nearest_centroids(
    points: Tensor, centroids: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Find the nearest centroid of every point, by cosine.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, L2-normalised, any float dtype.
    centroids : torch.Tensor
        `(num_clusters, dim)` float32, L2-normalised.
    dtype : torch.dtype
        Dtype in which the similarities are computed.

    Returns
    -------
    similarities : torch.Tensor
        `(num_points,)` float32, the cosine to the nearest centroid.
    labels : torch.Tensor
        `(num_points,)` int64, the index of that centroid.

    Example
    -------
    >>> points = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    >>> nearest_centroids(points, torch.eye(2))
    (tensor([0.8000, 1.0000]), tensor([1, 0]))
    """
    num_rows = tile_rows(points, centroids.shape[0])
    tile = SimilarityTile(centroids, dtype, num_rows)
    similarities = torch.empty(points.shape[0], device=points.device)
    labels = torch.empty_like(similarities, dtype=torch.int64)
    for start in range(0, points.shape[0], num_rows):
        rows = slice(start, start + num_rows)
        _, similarities[rows], labels[rows] = tile(points[rows])
    return similarities, labels


class PrunedAssignment:
    """Assign all points in every iteration of k-means, skipping products.

    Similar centroids are put into one block. From one iteration to the next,
    the angle between a point and the nearest centroid of a block shrinks by at
    most the largest angle by which a centroid of the block has moved (triangle
    inequality on the sphere). If the angle that is left is still larger than
    the point's angle to some centroid, the block need not be compared. The
    result is the exhaustive search's, up to the order among centroids that are
    equally near within float32.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, any float dtype.
    num_clusters : int
        Number of centroids in each call.
    block_width : int, optional
        Centroids per block. By default the smallest width that pays and that
        gives at most 96 blocks, so at most 96 bounds per point.

    Source: Yinyang k-means, Ding et al., ICML 2015. Differs: the similarity is
    the cosine. Blocks are of equal width and are made anew, with their bounds,
    by an exhaustive search whenever too few products could be skipped.

    Example
    -------
    >>> assign = PrunedAssignment(torch.eye(3), num_clusters=2, block_width=1)
    >>> assign(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.8, 0.6]]))
    (tensor([1.0000, 0.8000, 0.6000]), tensor([0, 1, 1]))
    >>> assign(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))[1]
    tensor([0, 1, 0])
    """

    def __init__(
        self, points: Tensor, num_clusters: int, block_width: int | None = None
    ) -> None:
        if block_width is None:
            block_width = default_block_width(num_clusters)
        self.points = points
        self.block_width = block_width
        self.num_blocks = -(-num_clusters // block_width)
        self.norms = points.norm(dim=1, dtype=torch.float32).clamp(min=1e-6)
        self.previous: Tensor | None = None
        self.order = torch.arange(num_clusters)
        # Smallest possible angle of each point to each block's centroids.
        self.bounds = torch.zeros(self.num_blocks, points.shape[0])
        self.similarities = torch.empty(points.shape[0])
        self.labels = torch.empty(points.shape[0], dtype=torch.int64)

    def __call__(self, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """Assign all points.

        Arguments
        ---------
        centroids : torch.Tensor
            `(num_clusters, dim)` float32, L2-normalised. The nearer they are
            to those of the call before, the less there is to compute.

        Returns
        -------
        similarities : torch.Tensor
            `(num_points,)` float32, the cosine to the nearest centroid.
        labels : torch.Tensor
            `(num_points,)` int64, the index of that centroid.
        """
        if self._fraction_to_compare(centroids) > _MAX_FRACTION:
            self._compare_all(centroids)
        else:
            self._compare_needed(centroids)
        self.previous = centroids
        return self.similarities.clone(), self.labels.clone()

    def _fraction_to_compare(self, centroids: Tensor) -> float:
        """Update the bounds; estimate the fraction of blocks they leave."""
        if self.previous is None or self.num_blocks == 1:
            return 1.0
        # By the chord, since acos does not resolve small angles.
        chords = (centroids - self.previous).norm(dim=1)
        moves = 2 * (chords / 2).clamp(max=1).asin()[self.order]
        padding = self.num_blocks * self.block_width - moves.numel()
        blocks = pad(moves, (0, padding)).view(self.num_blocks, -1)
        self.bounds -= blocks.amax(dim=1, keepdim=True)
        # A rank may have no points, if there are few.
        step = max(1, -(-self.points.shape[0] // _SAMPLE_SIZE))
        rows = slice(None, None, step)
        own = centroids[self.labels[rows]]
        cosines = (self.points[rows].float() * own).sum(dim=1)
        angles = (cosines / self.norms[rows]).clamp(-1, 1).acos()
        needed = self.bounds[:, rows] <= angles + _SLACK
        return needed.float().mean().item()

    def _compare_all(self, centroids: Tensor) -> None:
        """Search exhaustively, in new blocks of similar centroids."""
        self.order = order_by_similarity(centroids, self.num_blocks)
        num_rows = tile_rows(self.points, centroids.shape[0])
        tile = SimilarityTile(
            centroids[self.order], torch.float32, num_rows, self.block_width
        )
        for start in range(0, self.points.shape[0], num_rows):
            rows = slice(start, start + num_rows)
            maxima, self.similarities[rows], places = tile(self.points[rows])
            self.labels[rows] = self.order[places]
            cosines = maxima.t() / self.norms[rows]
            self.bounds[:, rows] = cosines.clamp(-1, 1).acos()

    def _compare_needed(self, centroids: Tensor) -> None:
        """Compare with the own block first, then where the bounds require."""
        own_block = torch.argsort(self.order)[self.labels] // self.block_width
        self.similarities.fill_(-torch.inf)
        angles = torch.full_like(self.similarities, torch.inf)
        blocks = centroids[self.order].split(self.block_width)
        for block, members in enumerate(blocks):
            rows = (own_block == block).nonzero().squeeze(1)
            self._compare(rows, block, members, angles)
        for block, members in enumerate(blocks):
            needed = self.bounds[block] <= angles + _SLACK
            rows = (needed & (own_block != block)).nonzero().squeeze(1)
            self._compare(rows, block, members, angles)

    def _compare(
        self, rows: Tensor, block: int, members: Tensor, angles: Tensor
    ) -> None:
        """Compare some points with one block, and renew their bounds."""
        for chunk in rows.split(_GATHERED_ROWS):
            tile = self.points.index_select(0, chunk).float() @ members.t()
            best = tile.amax(dim=1)
            bounds = (best / self.norms[chunk]).clamp(-1, 1).acos()
            self.bounds[block, chunk] = bounds
            # Few points change clusters: only their index is searched for.
            better = (best > self.similarities[chunk]).nonzero().squeeze(1)
            place = block * self.block_width + tile[better].argmax(dim=1)
            moved = chunk[better]
            self.similarities[moved] = best[better]
            self.labels[moved] = self.order[place]
            angles[moved] = bounds[better]


class SimilarityTile:
    """Find the nearest centroids of a tile of points, block by block.

    A plain `max` with indices over each row of similarities takes up to a
    sixth of the time of the matrix product on a CPU, because it is not
    vectorised, while `amax` is. So the maximum of each block of columns is
    taken first. The index is then searched for among the block maxima, and
    inside the winning block. Among equal similarities the lowest index wins.

    Arguments
    ---------
    centroids : torch.Tensor
        `(num_clusters, dim)`, L2-normalised.
    dtype : torch.dtype
        Dtype in which the similarities are computed.
    max_rows : int
        Largest number of points in one call, at least 1.
    block_width : int
        Centroids per block, at least 1.

    Example
    -------
    >>> tile = SimilarityTile(torch.eye(4), torch.float32, 1, block_width=2)
    >>> tile(torch.tensor([[0.6, 0.8, 0.0, 0.0]]))
    (tensor([[0.8000, 0.0000]]), tensor([0.8000]), tensor([1]))
    """

    def __init__(
        self,
        centroids: Tensor,
        dtype: torch.dtype,
        max_rows: int,
        block_width: int = BLOCK_WIDTH,
    ) -> None:
        self.num_clusters = centroids.shape[0]
        self.block_width = block_width
        self.dtype = dtype
        self._columns = centroids.to(dtype).t()
        num_blocks = -(-self.num_clusters // block_width)
        # The last block is filled up with similarities that never win.
        self._similarities = torch.full(
            (max_rows, num_blocks * block_width),
            -torch.inf,
            dtype=dtype,
            device=centroids.device,
        )

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the nearest centroid of each point.

        Arguments
        ---------
        points : torch.Tensor
            `(batch, dim)`, any float dtype.

        Returns
        -------
        block_maxima : torch.Tensor
            `(batch, num_blocks)`, the largest similarity in each block.
        similarities : torch.Tensor
            `(batch,)` float32, the cosine to the nearest centroid.
        labels : torch.Tensor
            `(batch,)` int64, the index of that centroid.
        """
        batch = points.shape[0]
        tile = self._similarities[:batch]
        torch.mm(
            points.to(self.dtype),
            self._columns,
            out=tile[:, : self.num_clusters],
        )
        blocks = tile.view(batch, -1, self.block_width)
        block_maxima = blocks.amax(dim=2)  # (batch, num_blocks)
        block = block_maxima.argmax(dim=1)
        # Six times faster than indexing with a pair of tensors.
        first = torch.arange(batch, device=points.device) * blocks.shape[1]
        winners = blocks.flatten(0, 1).index_select(0, first + block)
        similarities, column = winners.max(dim=1)
        labels = block * self.block_width + column
        return block_maxima, similarities.float(), labels


def tile_rows(points: Tensor, num_columns: int) -> int:
    """Return the number of points whose similarities are computed at once.

    Arguments
    ---------
    points : torch.Tensor
        `(num_points, dim)`, all of them.
    num_columns : int
        Similarities per point, i.e. the number of centroids.

    Returns
    -------
    int
        At least 1, and at most the number of points if there are any.

    Example
    -------
    >>> tile_rows(torch.empty(9999, 2), num_columns=4096)
    512
    """
    if points.device.type == "cpu":
        elements, max_rows = _CPU_TILE_ELEMENTS, _CPU_TILE_ROWS
    else:
        elements, max_rows = _GPU_TILE_ELEMENTS, _GPU_TILE_ROWS
    fitting = elements // max(BLOCK_WIDTH, num_columns)
    return max(1, min(points.shape[0], max_rows, max(128, fitting)))


def default_block_width(num_clusters: int) -> int:
    """Return the number of centroids per block that gives at most 96 blocks.

    Example
    -------
    >>> default_block_width(1000), default_block_width(25_000)
    (64, 288)
    """
    # Products and maxima are far slower if it is no multiple of 32.
    width = -(-num_clusters // _MAX_BLOCKS)
    return max(BLOCK_WIDTH, 32 * -(-width // 32))


def order_by_similarity(centroids: Tensor, num_groups: int) -> Tensor:
    """Return a permutation that brings similar centroids next to each other.

    Arguments
    ---------
    centroids : torch.Tensor
        `(num_clusters, dim)` float32, L2-normalised.
    num_groups : int
        Number of groups of similar centroids, in [1, num_clusters].

    Returns
    -------
    torch.Tensor
        `(num_clusters,)` int64, indices of the centroids, group after group.

    Example
    -------
    >>> centroids = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0], [0, 1.0]])
    >>> order_by_similarity(centroids, num_groups=2)
    tensor([0, 2, 1, 3])
    """
    step = centroids.shape[0] // num_groups
    centres = centroids[::step][:num_groups]
    for _ in range(4):
        similarities, groups = nearest_centroids(centroids, centres)
        centres = mean_directions(centroids, groups, similarities, centres)
    return torch.argsort(groups, stable=True)
