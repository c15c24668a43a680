"""Frameworks that map views to anchors and positives, one module each."""

from ssps_plugin.frameworks.dino import DINO
from ssps_plugin.frameworks.fast_resnet import FastResNet34
from ssps_plugin.frameworks.features import Fbank
from ssps_plugin.frameworks.framework import EmbeddingModel, Framework
from ssps_plugin.frameworks.log_mel import (
    InstanceNormalization,
    LogMelSpectrogram,
)
from ssps_plugin.frameworks.moco import MoCo
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.frameworks.sdpn import SDPN
from ssps_plugin.frameworks.self_distillation import SelfDistillation
from ssps_plugin.frameworks.siamese import Siamese, SimCLR, SwAV, VICReg

__all__ = [
    "DINO",
    "EmbeddingModel",
    "FastResNet34",
    "Fbank",
    "Framework",
    "InstanceNormalization",
    "LogMelSpectrogram",
    "MoCo",
    "MomentumSchedule",
    "SDPN",
    "SelfDistillation",
    "Siamese",
    "SimCLR",
    "SwAV",
    "VICReg",
]
