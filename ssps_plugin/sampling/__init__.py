"""Sampling strategies: select a pseudo-positive for every anchor."""

from ssps_plugin.sampling.clustering import CentroidSampling, ClusteringSampling
from ssps_plugin.sampling.consensus import ConsensusSampling
from ssps_plugin.sampling.coverage import Coverage
from ssps_plugin.sampling.diagnosis import EpochDiagnosis
from ssps_plugin.sampling.epoch_plan import EpochPlan
from ssps_plugin.sampling.nearest_neighbor import NearestNeighborSampling
from ssps_plugin.sampling.schedule import (
    GeometricSchedule,
    LinearSchedule,
    Schedule,
    make_schedule,
)
from ssps_plugin.sampling.shared_neighbors import SharedNeighborSampling
from ssps_plugin.sampling.signs import effective_rank
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

__all__ = [
    "Anchors",
    "CentroidSampling",
    "ClusteringSampling",
    "ConsensusSampling",
    "Coverage",
    "EpochDiagnosis",
    "EpochPlan",
    "GeometricSchedule",
    "LinearSchedule",
    "NearestNeighborSampling",
    "SamplingStrategy",
    "Schedule",
    "SharedNeighborSampling",
    "effective_rank",
    "make_schedule",
]
