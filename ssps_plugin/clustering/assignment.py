"""The nearest centroid of every point, in bounded memory."""

import torch
from torch import Tensor

# Similarities held at once. Measured on one core, products of 512 rows are as
# fast as any, and their results still in the cache when the search for the
# maximum comes; a GPU wants few, large kernels.
CPU_TILE_ELEMENTS = 2**24
CPU_TILE_ROWS = 512
GPU_TILE_ELEMENTS = 2**27
GPU_TILE_ROWS = 2**20

# Columns among which a maximum is searched at once.
BLOCK_WIDTH = 64


def tile_rows(points: Tensor, num_columns: int) -> int:
    """Number of points whose similarities are computed at once.

    Arguments
    ---------
    points : Tensor
        All of them, shape `(num_points, dim)`.
    num_columns : int
        Similarities per point, i.e. the number of centroids.

    Returns
    -------
    int
        At least 1, never more than there are points.

    Example
    -------
    >>> tile_rows(torch.empty(9999, 2), num_columns=4096)
    512
    """
    if points.device.type == "cpu":
        elements, most = CPU_TILE_ELEMENTS, CPU_TILE_ROWS
    else:
        elements, most = GPU_TILE_ELEMENTS, GPU_TILE_ROWS
    fitting = elements // max(BLOCK_WIDTH, num_columns)
    return max(1, min(points.shape[0], most, max(128, fitting)))


class SimilarityTile:
    """Search a tile of points for their nearest centroids, block by block.

    A plain ``max`` with indices over each row of similarities costs up to a
    sixth of the matrix product on a CPU, because it is not vectorised, while
    ``amax`` is. So the maximum is taken per block of columns first, and the
    index is only searched among the block maxima, then inside the winning
    block. Among equal similarities the lowest index wins.

    Arguments
    ---------
    centroids : Tensor
        L2-normalised, shape `(num_clusters, dim)`.
    dtype : torch.dtype
        In which the similarities are computed.
    max_rows : int
        Most points in one call, at least 1.
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
        points : Tensor
            Shape `(batch, dim)`, any float dtype.

        Returns
        -------
        block_maxima : Tensor
            Largest similarity in each block, shape `(batch, num_blocks)`.
        similarities : Tensor
            Cosine to the nearest centroid, float32, shape `(batch,)`.
        labels : Tensor
            Index of that centroid, int64, shape `(batch,)`.
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


def nearest_centroids(
    points: Tensor, centroids: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Nearest centroid of every point, by cosine.

    Arguments
    ---------
    points : Tensor
        L2-normalised, shape `(num_points, dim)`, any float dtype.
    centroids : Tensor
        L2-normalised, float32, shape `(num_clusters, dim)`.
    dtype : torch.dtype
        In which the similarities are computed.

    Returns
    -------
    similarities : Tensor
        Cosine to the nearest centroid, float32, shape `(num_points,)`.
    labels : Tensor
        Index of that centroid, int64, shape `(num_points,)`.

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
