"""Frameworks that map views to anchors and positives, one module each."""

from ssps_plugin.frameworks.dino import DINO
from ssps_plugin.frameworks.features import Fbank
from ssps_plugin.frameworks.framework import EmbeddingModel, Framework
from ssps_plugin.frameworks.moco import MoCo
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.frameworks.siamese import Siamese, SimCLR, SwAV, VICReg

__all__ = [
    "DINO",
    "EmbeddingModel",
    "Fbank",
    "Framework",
    "MoCo",
    "MomentumSchedule",
    "Siamese",
    "SimCLR",
    "SwAV",
    "VICReg",
]
