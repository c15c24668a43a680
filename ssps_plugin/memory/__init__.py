"""What SSPS remembers: references by utterance, positives in a queue."""

from ssps_plugin.memory.epoch_counts import EpochCounts
from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.repeats import resolve_repeats
from ssps_plugin.memory.step import Step, StepCheck
from ssps_plugin.memory.utterance_index import UtteranceIndex

__all__ = [
    "EpochCounts",
    "PositiveLayout",
    "PositiveQueue",
    "ReferenceBank",
    "Step",
    "StepCheck",
    "UtteranceIndex",
    "resolve_repeats",
]
