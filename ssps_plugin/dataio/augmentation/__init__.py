"""Augmentation on the dataset's side: reverberation and noise."""

from ssps_plugin.dataio.augmentation.augmentation import Augmentation

__all__ = ["Augmentation"]
