"""The nearest centroid of every point, in bounded memory."""

import torch
from torch import Tensor

# Similarities held at once. On a CPU they have to stay in the cache between
# the product and the search for its maximum; a GPU wants few, large kernels.
CPU_TILE_ELEMENTS = 2**20
GPU_TILE_ELEMENTS = 2**27

# Columns among which a maximum is searched at once.
BLOCK_WIDTH = 64


def tile_rows(num_columns: int, device: torch.device) -> int:
    """Number of rows of similarities to compute at once.

    Arguments
    ---------
    num_columns : int
        Similarities per row, i.e. the number of centroids.
    device : torch.device
        Where they are computed.

    Returns
    -------
    int
        At least 128, whatever the number of columns.

    Example
    -------
    >>> tile_rows(4096, torch.device("cpu"))
    256
    """
    on_cpu = device.type == "cpu"
    elements = CPU_TILE_ELEMENTS if on_cpu else GPU_TILE_ELEMENTS
    return max(128, elements // max(1, num_columns))


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
    block_width : int
        Centroids per block, at least 1.

    Example
    -------
    >>> tile = SimilarityTile(torch.eye(4), torch.float32, block_width=2)
    >>> tile(torch.tensor([[0.6, 0.8, 0.0, 0.0]]))
    (tensor([[0.8000, 0.0000]]), tensor([0.8000]), tensor([1]))
    """

    def __init__(
        self,
        centroids: Tensor,
        dtype: torch.dtype,
        block_width: int = BLOCK_WIDTH,
    ) -> None:
        self.num_clusters = centroids.shape[0]
        self.block_width = block_width
        self.dtype = dtype
        self.max_rows = tile_rows(self.num_clusters, centroids.device)
        self._columns = centroids.to(dtype).t()
        num_blocks = -(-self.num_clusters // block_width)
        # The last block is filled up with similarities that never win.
        self._similarities = torch.full(
            (self.max_rows, num_blocks * block_width),
            -torch.inf,
            dtype=dtype,
            device=centroids.device,
        )

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the nearest centroid of each point.

        Arguments
        ---------
        points : Tensor
            Shape `(batch, dim)`, at most `max_rows` rows, any float dtype.

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
        rows = torch.arange(batch, device=points.device)
        similarities, column = blocks[rows, block].max(dim=1)
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
    tile = SimilarityTile(centroids, dtype)
    similarities = torch.empty(points.shape[0], device=points.device)
    labels = torch.empty_like(similarities, dtype=torch.int64)
    for start in range(0, points.shape[0], tile.max_rows):
        rows = slice(start, start + tile.max_rows)
        _, similarities[rows], labels[rows] = tile(points[rows])
    return similarities, labels
