"""Augmentation of waveforms in the dataset: reverberation and noise."""

from ssps_plugin.dataio.augmentation.augmentation import Augmentation
from ssps_plugin.dataio.augmentation.batch_augmentation import (
    BatchAugmentation,
)

__all__ = ["Augmentation", "BatchAugmentation"]
