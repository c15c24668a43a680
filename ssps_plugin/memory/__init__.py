"""The memories of SSPS: references by utterance, positives in a queue."""

from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.rows import Repeats, resolve_repeats, substitute
from ssps_plugin.memory.step import (
    PositiveLayout,
    Step,
    UtteranceIndex,
    check_step,
)

__all__ = [
    "PositiveLayout",
    "PositiveQueue",
    "ReferenceBank",
    "Repeats",
    "Step",
    "UtteranceIndex",
    "check_step",
    "resolve_repeats",
    "substitute",
]
