"""Simulate recordings: MiniVox, and recordings over real speech."""

from ssps_plugin.simulation.minivox import make_minivox
from ssps_plugin.simulation.real_speech import simulate_recordings

__all__ = ["make_minivox", "simulate_recordings"]
