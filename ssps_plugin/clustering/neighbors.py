"""The nearest other clusters of every cluster."""

import torch
from torch import Tensor

from ssps_plugin.clustering.assignment import BLOCK_WIDTH, tile_rows
from ssps_plugin.distributed import gather_rows, share_of_rank


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
        chunks.append(largest(similarities, num_neighbors))
    return gather_rows(torch.cat(chunks))[0]


def largest(values: Tensor, count: int) -> Tensor:
    """Columns of the largest values of each row, in descending order.

    The `count` largest values lie in the `count` blocks of columns with the
    largest maxima. Finding these first costs a quarter of a `topk` over long
    rows on a CPU.

    Arguments
    ---------
    values : Tensor
        Shape `(rows, columns)`.
    count : int
        In [0, columns].

    Returns
    -------
    Tensor
        Column indices, int64, shape `(rows, count)`.

    Example
    -------
    >>> largest(torch.tensor([[0.5, 0.1, 0.7]]), count=2)
    tensor([[2, 0]])
    """
    num_blocks = values.shape[1] // BLOCK_WIDTH
    if count * 4 > num_blocks:
        return values.topk(count, dim=1).indices
    whole = num_blocks * BLOCK_WIDTH
    blocks = values[:, :whole].unflatten(1, (num_blocks, BLOCK_WIDTH))
    winners = blocks.amax(dim=2).topk(count, dim=1).indices  # (rows, count)
    within = torch.arange(BLOCK_WIDTH, device=values.device)
    columns = (winners[:, :, None] * BLOCK_WIDTH + within).flatten(1)
    # What is left beside the whole blocks competes as it is.
    rest = torch.arange(whole, values.shape[1], device=values.device)
    columns = torch.cat([columns, rest.expand(len(values), -1)], dim=1)
    places = values.gather(1, columns).topk(count, dim=1).indices
    return columns.gather(1, places)
