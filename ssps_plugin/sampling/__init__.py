"""Strategies that select a pseudo-positive for an anchor."""

from ssps_plugin.sampling.centroid import CentroidSampling
from ssps_plugin.sampling.clustering import ClusteringSampling
from ssps_plugin.sampling.nearest_neighbor import NearestNeighborSampling
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

__all__ = [
    "Anchors",
    "CentroidSampling",
    "ClusteringSampling",
    "NearestNeighborSampling",
    "SamplingStrategy",
]
