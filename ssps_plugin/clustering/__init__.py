"""Spherical k-means over unit vectors, with one face on CPU and GPU."""

from ssps_plugin.clustering.neighbors import nearest_clusters
from ssps_plugin.clustering.spherical_kmeans import (
    Clustering,
    SphericalKMeans,
)

__all__ = ["Clustering", "SphericalKMeans", "nearest_clusters"]
