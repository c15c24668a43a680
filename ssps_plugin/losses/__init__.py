"""Self-supervised objectives; none of them knows SSPS."""

from ssps_plugin.losses.dino import DINOCentering, DINOLoss
from ssps_plugin.losses.margins import (
    AdaptiveMargin,
    AdditiveAngularMargin,
    AdditiveMargin,
    CurricularMargin,
    Margin,
    MultiplicativeAngularMargin,
    NoMargin,
)
from ssps_plugin.losses.moco import MoCoLoss, NegativeQueue
from ssps_plugin.losses.nt_xent import NTXentLoss
from ssps_plugin.losses.objective_module import ObjectiveModule
from ssps_plugin.losses.sdpn import SDPNLoss
from ssps_plugin.losses.swav import FeatureQueue, SwAVLoss, sinkhorn_codes
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
    "ObjectiveModule",
    "SDPNLoss",
    "SwAVLoss",
    "VICRegLoss",
    "sinkhorn_codes",
]
