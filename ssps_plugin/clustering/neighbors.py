"""The nearest other clusters of every cluster."""

import torch
from torch import Tensor

from ssps_plugin.clustering.assignment import tile_rows


def nearest_clusters(centroids: Tensor, num_neighbors: int) -> Tensor:
    """Nearest other clusters of each cluster, by centroid cosine.

    Source: Lepage and Dehak, "SSPS: Self-Supervised Positive Sampling for
    Robust Self-Supervised Speaker Verification", Interspeech 2025
    (arXiv 2505.14561): a pseudo-positive comes from one of the M clusters
    nearest to the anchor's.

    Arguments
    ---------
    centroids : Tensor
        L2-normalised, shape `(num_clusters, dim)`, any float dtype.
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
    device = centroids.device
    neighbors = torch.empty(
        (num_clusters, num_neighbors), dtype=torch.int64, device=device
    )
    if num_neighbors == 0:
        return neighbors
    centroids = centroids.float()
    rows_at_once = tile_rows(centroids, num_clusters)
    for start in range(0, num_clusters, rows_at_once):
        chunk = centroids[start : start + rows_at_once]
        similarities = chunk @ centroids.t()  # (rows, num_clusters)
        similarities.diagonal(offset=start).fill_(-torch.inf)
        neighbors[start : start + rows_at_once] = similarities.topk(
            num_neighbors, dim=1
        ).indices
    return neighbors
