"""Whether a setting is a number, and in range."""

import math
import numbers
from typing import Any


def check_whole_number(
    name: str, value: Any, at_least: int | None = None
) -> None:
    """Raise a ValueError unless a setting is a whole number, large enough.

    Example
    -------
    >>> check_whole_number("queue_size", 0, at_least=1)
    Traceback (most recent call last):
    ValueError: Expected queue_size of at least 1, got 0: change queue_size.
    """
    is_whole = is_number(value) and isinstance(value, numbers.Integral)
    if is_whole and (at_least is None or value >= at_least):
        return
    bound = "" if at_least is None else f" of at least {at_least}"
    kind = "" if is_whole else ", a whole number"
    raise ValueError(
        f"Expected {name}{bound}{kind}, got {value!r}: change {name}."
    )


def is_number(value: Any) -> bool:
    """Return whether a setting is a real number, and no bool or str.

    Example
    -------
    >>> is_number(0.5), is_number(True), is_number("0.5")
    (True, False, False)
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


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
    return is_number(value) and math.isfinite(value)
