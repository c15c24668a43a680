"""Heads between the encoder and an objective."""

from ssps_plugin.heads.dino_head import DINOHead, WeightNormalizedLinear
from ssps_plugin.heads.mlp import MLPHead
from ssps_plugin.heads.prototypes import Prototypes

__all__ = ["DINOHead", "MLPHead", "Prototypes", "WeightNormalizedLinear"]
