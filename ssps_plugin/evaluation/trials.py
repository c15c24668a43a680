"""Trial lists: lines of ``label enrol test``, read and written.

VoxCeleb's layout: label 1 for a target trial (one speaker), 0 for an impostor
trial (two speakers), then the file names of the two utterances.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.evaluation.atomic_write import atomic_write

#: Lines handled at a time: bounds the memory that split lines take.
LINES_PER_BLOCK = 20_000


@dataclass(frozen=True)
class TrialList:
    """Trials as pairs of positions in a list of distinct utterances.

    Arguments
    ---------
    utterances : list of str
        Distinct names, in order of first appearance.
    labels : numpy.ndarray
        (trials,) uint8, 1 for a target trial, 0 for an impostor trial.
    enrol : numpy.ndarray
        (trials,) int64, position of the enrolment in ``utterances``.
    test : numpy.ndarray
        (trials,) int64, position of the test in ``utterances``.
    """

    utterances: list[str]
    labels: NDArray[np.uint8]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def from_names(
        cls, labels: Iterable[int], enrol: Iterable[str], test: Iterable[str]
    ) -> TrialList:
        """Trials given by utterance names instead of positions.

        Example
        -------
        >>> trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
        >>> trials.utterances, trials.enrol.tolist(), trials.test.tolist()
        (['a', 'b', 'c'], [0, 0], [1, 2])
        """
        position = _first_appearance()
        names = chain.from_iterable(zip(enrol, test, strict=True))
        pairs = np.fromiter(map(position.__getitem__, names), np.int64)
        return _trial_list(position, np.array([*labels], np.uint8), pairs)

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.labels)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Enrolment and test name of every trial, in order."""
        name_at = self.utterances.__getitem__
        for start in range(0, len(self), LINES_PER_BLOCK):
            block = slice(start, start + LINES_PER_BLOCK)
            enrol, test = self.enrol[block].tolist(), self.test[block].tolist()
            yield from zip(map(name_at, enrol), map(name_at, test), strict=True)


def read_trials(path: str | os.PathLike[str]) -> TrialList:
    """Read a trial list; blank lines are skipped.

    Arguments
    ---------
    path : str or os.PathLike
        Text file (UTF-8) with a line ``label enrol test`` per trial.

    Returns
    -------
    TrialList

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is not of that form (its number is named), or there is none.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "trials.txt"
    >>> _ = path.write_text("1 a.wav b.wav\\n0 a.wav c.wav\\n")
    >>> trials = read_trials(path)
    >>> trials.labels.tolist(), trials.utterances
    ([1, 0], ['a.wav', 'b.wav', 'c.wav'])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a trial list at {path}, found none: set `trials` to a "
            "file with a line `label enrol test` per trial."
        )
    position = _first_appearance()
    labels, pairs = [], []
    for block_labels, names in _read_blocks(path):
        labels.append(np.array(block_labels, np.uint8))
        numbers = map(position.__getitem__, names)
        pairs.append(np.fromiter(numbers, np.int64, 2 * len(block_labels)))
    if not position:
        raise ValueError(
            f"{path}: expected lines of `label enrol test`, got an empty file: "
            "check `trials`."
        )
    return _trial_list(position, np.concatenate(labels), np.concatenate(pairs))


def write_trials(path: str | os.PathLike[str], trials: TrialList) -> None:
    """Write a list that `read_trials` reads back as it was.

    Arguments
    ---------
    path : str or os.PathLike
        Written whole or not at all.
    trials : TrialList
        What to write.

    Raises
    ------
    ValueError
        If an utterance's name is empty or contains white space.
    """
    for name in trials.utterances:
        if len(name.split()) != 1 or name != name.strip():
            raise ValueError(
                f"expected utterance names without white space, got {name!r}: "
                "rename the utterance."
            )
    lines = zip(trials.labels.tolist(), trials.pairs(), strict=True)
    with atomic_write(path) as file:
        file.writelines(
            f"{label} {enrol} {test}\n" for label, (enrol, test) in lines
        )


def _read_blocks(path: Path) -> Iterator[tuple[list[int], Iterable[str]]]:
    """Labels, and names alternating enrol and test, some lines at a time."""
    with open(path, encoding="utf-8-sig") as file:
        start = 1
        while lines := list(islice(file, LINES_PER_BLOCK)):
            rows = [row for row in map(str.split, lines) if row]
            # Two passes in C find that all is well; only a bad block is gone
            # through line by line.
            well_formed = set(map(len, rows)) <= {3}
            if not (well_formed and {row[0] for row in rows} <= {"0", "1"}):
                raise ValueError(f"{path}, {_first_malformed(lines, start)}")
            start += len(lines)
            labels = [row[0] == "1" for row in rows]
            yield labels, chain.from_iterable(row[1:] for row in rows)


def _first_malformed(lines: list[str], start: int) -> str:
    """Say where and how the first bad line differs from a trial."""
    number, line = next(
        (number, line)
        for number, line in enumerate(lines, start)
        if (fields := line.split())
        and (len(fields) != 3 or fields[0] not in ("0", "1"))
    )
    return (
        f"line {number}: expected `label enrol test` with label 0 or 1, "
        f"got {line.strip()[:200]!r}: correct the line or change `trials`."
    )


def _first_appearance() -> defaultdict[str, int]:
    """A table that numbers names as they first appear.

    The factory is asked before the new name is stored, so the table's length
    is the next free number; looking up millions of names stays in C.
    """
    position: defaultdict[str, int] = defaultdict()
    position.default_factory = position.__len__
    return position


def _trial_list(
    position: dict[str, int],
    labels: NDArray[np.uint8],
    pairs: NDArray[np.int64],
) -> TrialList:
    """Split alternating positions into enrolments and tests."""
    enrol, test = pairs.reshape(-1, 2).T.copy()
    return TrialList([*position], labels, enrol, test)
