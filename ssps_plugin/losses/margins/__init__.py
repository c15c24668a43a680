"""Margins: what makes the target of a contrastive loss harder to reach."""

from ssps_plugin.losses.margins.adaptive import AdaptiveMargin
from ssps_plugin.losses.margins.additive import AdditiveMargin
from ssps_plugin.losses.margins.angular import (
    AdditiveAngularMargin,
    MultiplicativeAngularMargin,
)
from ssps_plugin.losses.margins.curricular import CurricularMargin
from ssps_plugin.losses.margins.margin import Margin, NoMargin

__all__ = [
    "AdaptiveMargin",
    "AdditiveAngularMargin",
    "AdditiveMargin",
    "CurricularMargin",
    "Margin",
    "MultiplicativeAngularMargin",
    "NoMargin",
]
