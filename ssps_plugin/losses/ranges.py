"""Whether a setting of a loss is a number in range."""

import math
import numbers
from typing import Any


def is_above(low: float, *values: Any) -> bool:
    """Return whether values are finite numbers above another.

    Example
    -------
    >>> is_above(0, 0.1, 5), is_above(0, float("nan")), is_above(0, None)
    (True, False, False)
    """
    return all(_is_finite(value) and value > low for value in values)


def is_from_to(low: float, high: float, value: Any) -> bool:
    """Return whether a value is a finite number from one bound to another.

    Example
    -------
    >>> is_from_to(0, 1, 1.0), is_from_to(0, math.inf, math.inf)
    (True, False)
    """
    return _is_finite(value) and low <= value <= high


def _is_finite(value: Any) -> bool:
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)
