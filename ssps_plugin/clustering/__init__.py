"""Spherical k-means, the nearest of clusters and of rows, and the top-k."""

from ssps_plugin.clustering.spherical_kmeans import (
    Clustering,
    SphericalKMeans,
    check_whole_number,
    nearest_clusters,
    nearest_rows,
)
from ssps_plugin.clustering.top_k import top_k

__all__ = [
    "Clustering",
    "SphericalKMeans",
    "check_whole_number",
    "nearest_clusters",
    "nearest_rows",
    "top_k",
]
