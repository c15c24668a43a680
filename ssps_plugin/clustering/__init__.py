"""Spherical k-means, the nearest clusters of each cluster, and the top-k."""

from ssps_plugin.clustering.spherical_kmeans import (
    Clustering,
    SphericalKMeans,
    check_whole_number,
    nearest_clusters,
)
from ssps_plugin.clustering.top_k import top_k

__all__ = [
    "Clustering",
    "SphericalKMeans",
    "check_whole_number",
    "nearest_clusters",
    "top_k",
]
