"""What SSPS remembers: references by utterance, positives in a queue."""

from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.repeats import resolve_repeats
from ssps_plugin.memory.utterance_index import UtteranceIndex

__all__ = [
    "PositiveLayout",
    "PositiveQueue",
    "ReferenceBank",
    "UtteranceIndex",
    "resolve_repeats",
]
