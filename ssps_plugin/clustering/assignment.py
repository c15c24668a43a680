"""The nearest centroid of every point, in bounded memory."""

import torch
from torch import Tensor

# Rows of similarities held at once. On a CPU a tile of them has to stay in
# the cache between the product and the search for its maximum; a GPU wants
# few, large kernels instead.
CPU_TILE_ELEMENTS = 2**21
GPU_TILE_ELEMENTS = 2**27

# Width of the blocks in which a row's maximum is searched.
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
        At least 64, whatever the number of columns.

    Example
    -------
    >>> tile_rows(4096, torch.device("cpu"))
    512
    """
    on_cpu = device.type == "cpu"
    elements = CPU_TILE_ELEMENTS if on_cpu else GPU_TILE_ELEMENTS
    return max(64, elements // max(1, num_columns))


class NearestCentroid:
    """Search for the nearest centroid by cosine, exact, tile by tile.

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

    Example
    -------
    >>> search = NearestCentroid(torch.eye(3), torch.float32)
    >>> search(torch.tensor([[0.6, 0.8, 0.0]]))
    (tensor([0.8000]), tensor([1]))
    """

    def __init__(self, centroids: Tensor, dtype: torch.dtype) -> None:
        self.num_clusters = centroids.shape[0]
        self.dtype = dtype
        self._columns = centroids.to(dtype).t()
        num_blocks = -(-self.num_clusters // BLOCK_WIDTH)
        # The last block is filled up with similarities that never win.
        self._tile = torch.full(
            (
                tile_rows(self.num_clusters, centroids.device),
                num_blocks * BLOCK_WIDTH,
            ),
            -torch.inf,
            dtype=dtype,
            device=centroids.device,
        )

    @property
    def tile_rows(self) -> int:
        """Largest number of points in one call."""
        return self._tile.shape[0]

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest centroid of each point.

        Arguments
        ---------
        points : Tensor
            L2-normalised, shape `(batch, dim)`, at most `tile_rows` rows.

        Returns
        -------
        similarities : Tensor
            Cosine to the nearest centroid, float32, shape `(batch,)`.
        labels : Tensor
            Index of that centroid, int64, shape `(batch,)`.
        """
        tile = self._tile[: points.shape[0]]
        torch.mm(
            points.to(self.dtype),
            self._columns,
            out=tile[:, : self.num_clusters],
        )
        blocks = tile.view(points.shape[0], -1, BLOCK_WIDTH)
        block = blocks.amax(dim=2).argmax(dim=1)  # (batch,)
        rows = torch.arange(points.shape[0], device=points.device)
        similarities, column = blocks[rows, block].max(dim=1)
        return similarities.float(), block * BLOCK_WIDTH + column
