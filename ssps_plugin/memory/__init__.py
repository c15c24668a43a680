"""What SSPS remembers: references by utterance, positives in a queue."""

from ssps_plugin.memory.bound_memories import BoundMemories
from ssps_plugin.memory.epoch_counts import EpochCounts
from ssps_plugin.memory.huge_pages import in_huge_pages
from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.repeats import resolve_repeats
from ssps_plugin.memory.row_copy import copy_rows
from ssps_plugin.memory.step import Step
from ssps_plugin.memory.step_check import StepCheck
from ssps_plugin.memory.substitution import substitute
from ssps_plugin.memory.utterance_index import UtteranceIndex

__all__ = [
    "BoundMemories",
    "EpochCounts",
    "PositiveLayout",
    "PositiveQueue",
    "ReferenceBank",
    "Step",
    "StepCheck",
    "UtteranceIndex",
    "copy_rows",
    "in_huge_pages",
    "resolve_repeats",
    "substitute",
]
