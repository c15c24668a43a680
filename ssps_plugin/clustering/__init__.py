"""Spherical k-means over unit vectors, with one interface on CPU and GPU."""

from ssps_plugin.clustering.spherical_kmeans import (
    Clustering,
    SphericalKMeans,
    nearest_clusters,
)
from ssps_plugin.clustering.top_k import top_k

__all__ = ["Clustering", "SphericalKMeans", "nearest_clusters", "top_k"]
