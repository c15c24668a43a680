"""Heads between the encoder and an objective."""

from ssps_plugin.heads.mlp import MLPHead

__all__ = ["MLPHead"]
