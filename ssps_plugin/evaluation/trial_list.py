"""Which utterances are compared, and which pairs are of one speaker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

#: Trials whose names are looked up at a time.
TRIALS_PER_BLOCK = 4096


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
        position = first_appearance()
        names = chain.from_iterable(zip(enrol, test, strict=True))
        pairs = np.fromiter(map(position.__getitem__, names), np.int64)
        return cls.from_pairs([*position], np.array([*labels], np.uint8), pairs)

    @classmethod
    def from_pairs(
        cls,
        utterances: list[str],
        labels: NDArray[np.uint8],
        pairs: NDArray[np.int64],
    ) -> TrialList:
        """Trials given by positions that alternate: enrol, test, enrol, …"""
        enrol, test = pairs.reshape(-1, 2).T.copy()
        return cls(utterances, labels, enrol, test)

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.labels)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Enrolment and test name of every trial, in order."""
        name_at = self.utterances.__getitem__
        for start in range(0, len(self), TRIALS_PER_BLOCK):
            block = slice(start, start + TRIALS_PER_BLOCK)
            enrol, test = self.enrol[block].tolist(), self.test[block].tolist()
            yield from zip(map(name_at, enrol), map(name_at, test), strict=True)


def first_appearance() -> defaultdict[str, int]:
    """A table that numbers names as they first appear.

    The factory is asked before the new name is stored, so the table's length
    is the next free number; looking up millions of names stays in C.
    """
    position: defaultdict[str, int] = defaultdict()
    position.default_factory = position.__len__
    return position
