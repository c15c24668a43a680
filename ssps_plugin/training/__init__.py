"""What recipes share: the Brain, checkpoints, configuration, optimisation."""

from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.configuration import (
    Configuration,
    parse_configuration,
)
from ssps_plugin.training.optimisation import (
    ClipPerParameter,
    StepDecay,
    WarmupCosine,
)
from ssps_plugin.training.runtime import process_group
from ssps_plugin.training.snapshots import Snapshots

__all__ = [
    "AtomicCheckpointer",
    "ClipPerParameter",
    "Configuration",
    "SSLBrain",
    "Snapshots",
    "StepDecay",
    "WarmupCosine",
    "parse_configuration",
    "process_group",
]
