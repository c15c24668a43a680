"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import datetime
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from tqdm import tqdm

# Not SpeechBrain's, which takes seconds to import. Only the main process asks
# for progress.
logger = logging.getLogger(__name__)

# Between two lines: work that is done sooner is not worth one.
_SECONDS_BETWEEN_LINES = 60.0


def is_terminal(stream: Any = None) -> bool:
    """Whether a stream is a terminal, where bars and colours can be drawn.

    Arguments
    ---------
    stream : file, optional
        Standard error when left out, where bars are drawn.

    Returns
    -------
    bool
        False for a file, a pipe, a notebook and a closed stream.
    """
    stream = sys.stderr if stream is None else stream
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None under pythonw; closed
        return False


def progress_bar(
    iterable: Iterable[Any] | None = None,
    description: str = "",
    total: int | None = None,
    unit: str = "item",
    disable: bool = False,
    initial: int = 0,
) -> Any:
    """Show progress: tqdm's bar on a terminal, `ProgressLines` elsewhere.

    The bar goes when the work is done.

    Arguments
    ---------
    iterable : iterable, optional
        What is gone through; without it, call `update`.
    description : str
        What is done.
    total : int, optional
        How many there are; the length of the iterable when left out.
    unit : str
        One of them.
    disable : bool
        Show nothing: on processes other than the main one, say.
    initial : int
        How many are done already.

    Returns
    -------
    tqdm or ProgressLines
        An iterable and a context manager, with `update(num)`,
        `set_postfix_str(text)` and `close()`.

    Example
    -------
    >>> list(progress_bar("abc", "Reading", disable=True))
    ['a', 'b', 'c']
    """
    if disable or is_terminal():
        return tqdm(
            iterable,
            description or None,
            total,
            unit=unit,
            disable=disable,
            initial=initial,
            dynamic_ncols=True,
            leave=False,
        )
    return ProgressLines(iterable, description, total, unit, initial)


class ProgressLines:
    """Log how far long work is, a line a minute, and nothing for short work.

    Arguments
    ---------
    iterable : iterable, optional
        What is gone through; without it, call `update`.
    description : str
        What is done.
    total : int, optional
        How many there are; the length of the iterable when left out.
    unit : str
        One of them.
    initial : int
        How many are done already.

    Example
    -------
    >>> lines = ProgressLines("abc", "Reading", unit="file")
    >>> for _ in lines:
    ...     pass
    >>> lines.describe(seconds=0.0)
    'Reading: 3 of 3 files, 0:00:00'
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        description: str = "",
        total: int | None = None,
        unit: str = "item",
        initial: int = 0,
    ) -> None:
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # type: ignore[arg-type]
        self.iterable = iterable
        self.description = description
        self.total = total
        self.unit = unit
        self.initial = self.num_done = initial
        self._postfix = ""
        self._started = time.monotonic()
        self._next = self._started + _SECONDS_BETWEEN_LINES

    def __enter__(self) -> "ProgressLines":
        """Return itself, as tqdm does."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: there is no bar to close."""

    def close(self) -> None:
        """Do nothing: there is no bar to close."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the iterable."""
        for item in self.iterable or ():
            yield item
            self.update()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Set the end of the next lines.

        Arguments
        ---------
        text : str
            It follows a comma.
        refresh : bool
            As tqdm has it; no line is logged before its time.
        """
        self._postfix = f", {text}" if text else ""

    def update(self, num: int = 1) -> None:
        """Count more that is done, and log a line if a minute has passed.

        Arguments
        ---------
        num : int
            How many more.
        """
        self.num_done += num
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            line = self.describe(now - self._started)
            logger.info("%s%s", line, self._postfix)

    def describe(self, seconds: float) -> str:
        """Return the line: what is done after so many seconds, what is left."""
        named = f"{self.description}: " if self.description else ""
        of_all = "" if self.total is None else f" of {self.total}"
        line = f"{named}{self.num_done}{of_all} {self.unit}s, {_clock(seconds)}"
        num_now = self.num_done - self.initial
        if self.total is None or not num_now or self.num_done >= self.total:
            return line
        left = seconds * (self.total - self.num_done) / num_now
        return f"{line} (about {_clock(left)} left)"


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
