"""Augmentation of waveforms in the dataset: reverberation and noise."""

from ssps_plugin.dataio.augmentation.augmentation import Augmentation

__all__ = ["Augmentation"]
