"""Spherical k-means, nearest rows, the top-k, agreement of labelings."""

from ssps_plugin.clustering.agreement import (
    adjusted_rand_index,
    normalized_mutual_information,
)
from ssps_plugin.clustering.spherical_kmeans import (
    Clustering,
    SphericalKMeans,
    nearest_clusters,
    nearest_others,
)
from ssps_plugin.clustering.top_k import top_k

__all__ = [
    "Clustering",
    "SphericalKMeans",
    "adjusted_rand_index",
    "nearest_clusters",
    "nearest_others",
    "normalized_mutual_information",
    "top_k",
]
