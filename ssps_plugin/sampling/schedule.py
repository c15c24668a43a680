"""Numbers that change over the epochs of SSPS: coverage, clusters, neighbours.

Ours, not published: draws may become wider, and be made for more anchors, as
the space gets better.
"""

import math
from collections.abc import Mapping
from typing import Any

from ssps_plugin.checks import check_whole_number, is_number


class Schedule:
    """Base class: a number for every epoch of SSPS.

    Epoch 0 is the sampler's `start_epoch`. From epoch `num_epochs - 1` on the
    number stays what it is there.

    Arguments
    ---------
    num_epochs : int
        Epochs until the last number is reached, at least 1.

    Raises
    ------
    ValueError
        `num_epochs` is no whole number of at least 1.
    """

    def __init__(self, num_epochs: int) -> None:
        check_whole_number("num_epochs of a schedule", num_epochs, 1)
        self.num_epochs = num_epochs

    def __call__(self, epoch: int) -> float:
        """Return the number of an epoch of SSPS, from 0."""
        raise NotImplementedError(
            f"Expected {type(self).__name__} to have __call__(epoch), which "
            "returns the number of an epoch, got none: define it."
        )

    def at(self, epoch: int) -> float:
        """Return the number of an epoch, that of the last one from there on."""
        return self(min(max(epoch, 0), self.num_epochs - 1))

    def bounds(self) -> list[float]:
        """Return numbers of which the largest is the largest of all epochs.

        A state is of their sizes, so that a training may be resumed over more
        epochs than it was begun for.
        """
        return self.values()

    def values(self) -> list[float]:
        """Return the numbers of all epochs in which they may change."""
        return [self(epoch) for epoch in range(self.num_epochs)]


class _FirstToLast(Schedule):
    def __init__(self, first: float, last: float, num_epochs: int) -> None:
        super().__init__(num_epochs)
        for name, value in (("first", first), ("last", last)):
            if not is_number(value):
                raise ValueError(
                    f"Expected a number as {name} of a schedule, got "
                    f"{value!r}: change {name}."
                )
        self.first, self.last = first, last

    def bounds(self) -> list[float]:
        """Return the numbers between which it goes, over however many."""
        return [self.first, self.last]

    def __repr__(self) -> str:
        """Return how it was made."""
        name = type(self).__name__
        return f"{name}({self.first}, {self.last}, {self.num_epochs})"

    def _progress(self, epoch: int) -> float:
        """Return how far an epoch is from the first number to the last."""
        if epoch >= self.num_epochs - 1:
            return 1.0
        return max(epoch, 0) / (self.num_epochs - 1)


class LinearSchedule(_FirstToLast):
    """Go from one number to another by equal differences.

    Arguments
    ---------
    first : float
        The number of SSPS epoch 0.
    last : float
        The number from SSPS epoch `num_epochs - 1` on.
    num_epochs : int
        Epochs until the last number is reached, at least 1.

    Example
    -------
    >>> LinearSchedule(0.5, 1.0, num_epochs=3).values()
    [0.5, 0.75, 1.0]
    """

    def __call__(self, epoch: int) -> float:
        """Return the number of an epoch of SSPS, from 0."""
        progress = self._progress(epoch)
        if progress == 1.0:  # exactly, whatever the rounding
            return self.last
        return self.first + (self.last - self.first) * progress


class GeometricSchedule(_FirstToLast):
    """Go from one number to another by equal ratios.

    Arguments
    ---------
    first : float
        The number of SSPS epoch 0, above 0.
    last : float
        The number from SSPS epoch `num_epochs - 1` on, above 0.
    num_epochs : int
        Epochs until the last number is reached, at least 1.

    Raises
    ------
    ValueError
        A number is not above 0.

    Example
    -------
    >>> GeometricSchedule(400, 100, num_epochs=3).values()
    [400.0, 200.0, 100]
    """

    def __init__(self, first: float, last: float, num_epochs: int) -> None:
        super().__init__(first, last, num_epochs)
        if not min(first, last) > 0:
            raise ValueError(
                "Expected numbers above 0 in a geometric schedule, got "
                f"{first} and {last}: change them, or use LinearSchedule."
            )

    def __call__(self, epoch: int) -> float:
        """Return the number of an epoch of SSPS, from 0."""
        progress = self._progress(epoch)
        if progress == 1.0:
            return self.last
        return float(self.first * (self.last / self.first) ** progress)


def make_schedule(
    name: str, value: Any, num_epochs: int | None, geometric: bool = False
) -> Schedule:
    """Return a schedule of what a setting gives.

    Arguments
    ---------
    name : str
        The setting's name, for the errors.
    value : float, sequence of two numbers, or Schedule
        A number stays the same, `[first, last]` goes from one to the other.
    num_epochs : int, optional
        The epochs of `[first, last]`.
    geometric : bool
        Whether `[first, last]` goes by equal ratios.

    Raises
    ------
    ValueError
        It is none of these, or `num_epochs` is missing.

    Example
    -------
    >>> make_schedule("coverage", [0.0, 1.0], num_epochs=3).values()
    [0.0, 0.5, 1.0]
    >>> make_schedule("coverage", 0.5, num_epochs=None).values()
    [0.5]
    """
    if isinstance(value, Schedule):
        if not hasattr(value, "num_epochs"):
            raise ValueError(
                f"Expected a schedule with num_epochs as {name}, got "
                f"{type(value).__name__} without: call "
                "super().__init__(num_epochs) in it."
            )
        found = value.values()
        if not all(is_number(one) and math.isfinite(one) for one in found):
            raise ValueError(
                f"Expected finite numbers of a schedule as {name}, got {found} "
                f"from {type(value).__name__}: change {name}."
            )
        return value
    if hasattr(value, "tolist"):  # a tensor, or an array
        value = value.tolist()
    if is_number(value):
        return LinearSchedule(value, value, num_epochs=1)
    if isinstance(value, str) or not _has_two(value):
        raise ValueError(
            f"Expected a number, [first, last] or a schedule{_or_a_word(name)} "
            f"as {name}, got "
            f"{value!r}: change {name}."
        )
    if num_epochs is None:
        raise ValueError(
            f"Expected schedule_epochs with {name} {list(value)}, the SSPS "
            "epochs from the first number to the last, got none: change "
            "schedule_epochs."
        )
    check_whole_number("schedule_epochs", num_epochs)
    kind = GeometricSchedule if geometric else LinearSchedule
    # None are left where SSPS starts after the last epoch.
    return kind(value[0], value[1], max(1, num_epochs))


def _or_a_word(name: str) -> str:
    return ", or auto," if name == "coverage" else ""


def _has_two(value: Any) -> bool:
    is_sequence = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    if not is_sequence or isinstance(value, Mapping):
        return False
    return len(value) == 2 and all(map(is_number, value))
