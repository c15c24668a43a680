"""Frameworks: views to anchors and positives, one module each."""

from ssps_plugin.frameworks.embedding_model import EmbeddingModel
from ssps_plugin.frameworks.framework import Framework
from ssps_plugin.frameworks.simclr import SimCLR

__all__ = ["EmbeddingModel", "Framework", "SimCLR"]
