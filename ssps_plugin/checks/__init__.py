"""Whether the settings of an object are what they must be."""

from ssps_plugin.checks.flags import check_flag
from ssps_plugin.checks.numbers import (
    check_whole_number,
    is_above,
    is_from_to,
    is_number,
)

__all__ = [
    "check_flag",
    "check_whole_number",
    "is_above",
    "is_from_to",
    "is_number",
]
