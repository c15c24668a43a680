"""Frameworks: views to anchors and positives, one module each."""

from ssps_plugin.frameworks.dino import DINO
from ssps_plugin.frameworks.embedding_model import EmbeddingModel
from ssps_plugin.frameworks.framework import Framework
from ssps_plugin.frameworks.moco import MoCo
from ssps_plugin.frameworks.siamese import Siamese
from ssps_plugin.frameworks.simclr import SimCLR
from ssps_plugin.frameworks.swav import SwAV
from ssps_plugin.frameworks.vicreg import VICReg

__all__ = [
    "DINO",
    "EmbeddingModel",
    "Framework",
    "MoCo",
    "Siamese",
    "SimCLR",
    "SwAV",
    "VICReg",
]
