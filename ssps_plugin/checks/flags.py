"""Checks of settings that are on or off."""

from typing import Any


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless a setting is True or False.

    A YAML file's `no`, which HyperPyYAML reads as text, would be true.

    Example
    -------
    >>> check_flag("share_cluster", "no")
    Traceback (most recent call last):
    ValueError: Expected True or False for share_cluster, got 'no': change \
share_cluster.
    """
    if not isinstance(value, bool):
        raise ValueError(
            f"Expected True or False for {name}, got {value!r}: change {name}."
        )
