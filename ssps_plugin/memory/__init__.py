"""The memories of SSPS: references by utterance, positives in a queue."""

from ssps_plugin.memory.partners import PartnerTable
from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.rows import Repeats, resolve_repeats, substitute
from ssps_plugin.memory.saved_state import (
    check_entries,
    check_ranges,
    ranges_of_parts,
)
from ssps_plugin.memory.step import (
    PositiveLayout,
    Step,
    check_step,
    warn_of_norms,
)
from ssps_plugin.memory.utterances import UtteranceIndex, find_ids

__all__ = [
    "PartnerTable",
    "PositiveLayout",
    "PositiveQueue",
    "ReferenceBank",
    "Repeats",
    "Step",
    "UtteranceIndex",
    "check_entries",
    "check_ranges",
    "check_step",
    "find_ids",
    "ranges_of_parts",
    "resolve_repeats",
    "substitute",
    "warn_of_norms",
]
