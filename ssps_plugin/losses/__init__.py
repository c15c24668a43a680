"""Self-supervised objectives; none of them knows SSPS."""

from ssps_plugin.losses.dino import DINOCentering, DINOLoss
from ssps_plugin.losses.feature_queue import FeatureQueue
from ssps_plugin.losses.margins import (
    AdaptiveMargin,
    AdditiveAngularMargin,
    AdditiveMargin,
    CurricularMargin,
    Margin,
    MultiplicativeAngularMargin,
    NoMargin,
)
from ssps_plugin.losses.moco import MoCoLoss
from ssps_plugin.losses.negative_queue import NegativeQueue
from ssps_plugin.losses.nt_xent import NTXentLoss
from ssps_plugin.losses.sinkhorn import sinkhorn_codes
from ssps_plugin.losses.swav import SwAVLoss
from ssps_plugin.losses.vicreg import VICRegLoss

__all__ = [
    "AdaptiveMargin",
    "AdditiveAngularMargin",
    "AdditiveMargin",
    "CurricularMargin",
    "DINOCentering",
    "DINOLoss",
    "FeatureQueue",
    "Margin",
    "MoCoLoss",
    "MultiplicativeAngularMargin",
    "NTXentLoss",
    "NegativeQueue",
    "NoMargin",
    "SwAVLoss",
    "VICRegLoss",
    "sinkhorn_codes",
]
