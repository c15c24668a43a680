"""Self-supervised frameworks: from views to anchors and positives."""

from ssps_plugin.frameworks.simclr import SimCLR

__all__ = ["SimCLR"]
