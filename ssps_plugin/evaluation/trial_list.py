"""Trial lists: which utterances are compared; read, written and made."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.atomic_write import atomic_write

#: Trials whose names are looked up at a time: bounds the memory of `pairs`.
TRIALS_PER_BLOCK = 4096
#: Characters read at a time: bounds the memory that split lines take, and
#: keeps them in the processor's cache.
CHARACTERS_PER_BLOCK = 2**18
_LABELS = {"0", "1"}
# No file name can contain it.
_END_OF_LINE = "\0"


@dataclass(frozen=True)
class TrialList:
    """Trials as pairs of positions in a list of distinct utterances.

    Arguments
    ---------
    utterances : list of str
        Distinct names, in order of first appearance.
    labels : numpy.ndarray
        `(trials,)` uint8, 1 for a target trial, 0 for an impostor trial.
    enrol : numpy.ndarray
        `(trials,)` int64, position of the enrolment in `utterances`.
    test : numpy.ndarray
        `(trials,)` int64, position of the test in `utterances`.
    """

    utterances: list[str]
    labels: NDArray[np.uint8]
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def from_names(
        cls, labels: Iterable[int], enrol: Iterable[str], test: Iterable[str]
    ) -> TrialList:
        """Make a list from utterance names instead of positions.

        Arguments
        ---------
        labels : iterable of int
            1 for a target trial, 0 for an impostor trial.
        enrol : iterable of str
            Name of the enrolment of every trial.
        test : iterable of str
            Name of the test of every trial.

        Returns
        -------
        TrialList

        Example
        -------
        >>> trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
        >>> trials.utterances, trials.enrol.tolist(), trials.test.tolist()
        (['a', 'b', 'c'], [0, 0], [1, 2])
        """
        position = _position_table()
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
        """Make a list from positions that alternate: enrol, test, enrol, …

        Arguments
        ---------
        utterances : list of str
            Distinct names.
        labels : numpy.ndarray
            `(trials,)` uint8.
        pairs : numpy.ndarray
            `(2 * trials,)` int64, positions in `utterances`.

        Returns
        -------
        TrialList
        """
        enrol, test = pairs.reshape(-1, 2).T.copy()
        return cls(utterances, labels, enrol, test)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.labels)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the enrolment and test name of every trial, in order."""
        name_at = self.utterances.__getitem__
        for start in range(0, len(self), TRIALS_PER_BLOCK):
            block = slice(start, start + TRIALS_PER_BLOCK)
            enrol, test = self.enrol[block].tolist(), self.test[block].tolist()
            yield from zip(map(name_at, enrol), map(name_at, test), strict=True)


def _position_table() -> defaultdict[str, int]:
    """Make a table that numbers names in order of first appearance.

    The factory is called before the new name is stored, so the table's length
    is the next free number; looking up millions of names stays in C.
    """
    position: defaultdict[str, int] = defaultdict()
    position.default_factory = position.__len__
    return position


def read_trials(path: str | os.PathLike[str]) -> TrialList:
    """Read a trial list; blank lines are skipped.

    Arguments
    ---------
    path : str or os.PathLike
        Text file (UTF-8) with a line `label enrol test` per trial.

    Returns
    -------
    TrialList

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line is not of that form (the message has its number), or there is
        none.

    Example
    -------
    >>> path = getfixture("tmp_path") / "trials.txt"
    >>> _ = path.write_text("1 a.wav b.wav\\n0 a.wav c.wav\\n")
    >>> trials = read_trials(path)
    >>> trials.labels.tolist(), trials.utterances
    ([1, 0], ['a.wav', 'b.wav', 'c.wav'])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a trial list at {path}, got no such file: change "
            "`trials` to a file with a line `label enrol test` per trial."
        )
    position = _position_table()
    labels, pairs = [], []
    for block_labels, names in _read_blocks(path):
        labels.append(np.fromiter(map("1".__eq__, block_labels), np.uint8))
        pairs.append(np.fromiter(map(position.__getitem__, names), np.int64))
    if not position:
        raise ValueError(
            f"Expected lines of `label enrol test` in {path}, got an empty "
            "file: change `trials`."
        )
    return TrialList.from_pairs(
        [*position], np.concatenate(labels), np.concatenate(pairs)
    )


def _read_blocks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield labels, and names alternating enrol and test, of some lines."""
    line_number = 1
    with open(path, encoding="utf-8-sig") as file:
        while block := _read_block(file, path):
            regular = _split_regular(block)
            yield regular or _split_lines(block, line_number, path)
            line_number += block.count("\n")


def _read_block(file: TextIO, path: Path) -> str:
    """Read some whole lines; an empty string at the end of the file."""
    try:
        return file.read(CHARACTERS_PER_BLOCK) + file.readline()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text (UTF-8) in {path}, got {error}: change `trials`."
        ) from None


def _split_regular(block: str) -> tuple[list[str], list[str]] | None:
    """Split a block of nothing but trials; None if anything is unusual.

    A mark takes the place of each line's end. If every fourth field is a mark,
    and there are no others, each line has three fields.
    """
    fields = block.replace("\n", f" {_END_OF_LINE} ").split()
    labels = fields[0::4]
    regular = (
        len(fields) == 4 * block.count("\n")
        and set(fields[3::4]) == {_END_OF_LINE}
        and set(labels) <= _LABELS
    )
    if not regular:
        return None
    del fields[3::4]
    del fields[0::3]
    return labels, fields


def _split_lines(
    block: str, line_number: int, path: Path
) -> tuple[list[str], list[str]]:
    """Split a block line by line: skip blank lines, refuse a malformed one."""
    labels, names = [], []
    for number, line in enumerate(block.split("\n"), line_number):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in _LABELS:
            raise ValueError(
                "Expected `label enrol test` with label 0 or 1 in "
                f"{path}, line {number}, got {line.strip()[:200]!r}: correct "
                "the line, or change `trials`."
            )
        labels.append(fields[0])
        names += fields[1:]
    return labels, names


def write_trials(path: str | os.PathLike[str], trials: TrialList) -> None:
    """Write a list that `read_trials` reads back unchanged.

    Arguments
    ---------
    path : str or os.PathLike
        Written whole or not at all.
    trials : TrialList
        What to write.

    Raises
    ------
    ValueError
        An utterance's name is empty or contains white space.
    """
    for name in trials.utterances:
        if len(name.split()) != 1 or name != name.strip():
            raise ValueError(
                f"Expected utterance names without white space, got {name!r}: "
                "change the name."
            )
    lines = zip(trials.labels.tolist(), trials.pairs(), strict=True)
    with atomic_write(path) as file:
        file.writelines(
            f"{label} {enrol} {test}\n" for label, (enrol, test) in lines
        )


def make_trials(
    utterances: Mapping[str, Mapping[str, Iterable[str]]],
    num_trials: int,
    seed: int,
) -> TrialList:
    """Draw as many target as impostor trials, none twice.

    Target trials cross recordings, so that a shared channel is no help; a
    speaker with a single recording gets pairs of utterances within it.
    Impostor trials pair two speakers. Every possible pair is equally likely.

    Arguments
    ---------
    utterances : mapping of str to mapping of str to iterable of str
        Speaker to recording to names of utterances, each name once.
    num_trials : int
        Total number of trials, at least 2; if it is odd, the extra one is an
        impostor trial.
    seed : int
        The same seed and utterances, in any order, give the same trials.

    Returns
    -------
    TrialList
        In random order.

    Raises
    ------
    ValueError
        There are not that many pairs of either kind, or a name occurs twice.

    Example
    -------
    >>> corpus = {"anna": {"r1": ["a1", "a2"], "r2": ["a3"]},
    ...           "ben": {"r3": ["b1", "b2"]}}
    >>> trials = make_trials(corpus, num_trials=6, seed=0)
    >>> pairs = [sorted(pair) for pair in trials.pairs()]
    >>> sorted(p for p, label in zip(pairs, trials.labels) if label)
    [['a1', 'a3'], ['a2', 'a3'], ['b1', 'b2']]
    """
    names, speaker_end, recording_end = _sort_names(utterances)
    generator = np.random.default_rng(seed)
    position = np.arange(len(names))
    has_one_recording = _run_start(recording_end) == _run_start(speaker_end)
    has_one_recording &= recording_end == speaker_end
    targets = _draw_pairs(
        np.where(has_one_recording, position + 1, recording_end),
        speaker_end,
        num_trials // 2,
        generator,
        "target",
    )
    impostors = _draw_pairs(
        speaker_end,
        np.full_like(speaker_end, len(names)),
        num_trials - num_trials // 2,
        generator,
        "impostor",
    )
    labels = np.repeat([1, 0], [len(targets), len(impostors)])
    order = generator.permutation(num_trials)
    # Either utterance of a pair may be the enrolment.
    pairs = generator.permuted(np.concatenate([targets, impostors]), axis=1)
    enrol, test = names[pairs[order]].T
    return TrialList.from_names(labels[order], enrol.tolist(), test.tolist())


def _sort_names(
    utterances: Mapping[str, Mapping[str, Iterable[str]]],
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Sort names by speaker and recording.

    Returns the names, and for each of them the position where the run of its
    speaker ends, and where the run of its recording ends.
    """
    names: list[str] = []
    speaker_sizes, recording_sizes = [], []
    for _, recordings in sorted(utterances.items()):
        start = len(names)
        for _, of_recording in sorted(recordings.items()):
            before = len(names)
            names += sorted(of_recording)
            recording_sizes.append(len(names) - before)
        speaker_sizes.append(len(names) - start)
    if len(set(names)) != len(names):
        raise ValueError(
            "Expected every utterance name once, got "
            f"{len(names) - len(set(names))} repeated: change the names."
        )
    return np.array(names), _run_end(speaker_sizes), _run_end(recording_sizes)


def _run_end(sizes: list[int]) -> NDArray[np.int64]:
    """Return the end of its run for every position, given the runs' sizes."""
    return np.repeat(np.cumsum(sizes, dtype=np.int64), np.array(sizes, int))


def _run_start(end: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the start of its run for every position, given the ends."""
    return np.searchsorted(end, end, side="left")


def _draw_pairs(
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    num_pairs: int,
    generator: np.random.Generator,
    kind: str,
) -> NDArray[np.int64]:
    """Draw distinct pairs (i, j) with begin[i] <= j < end[i].

    All such pairs have a number, ordered by i, and numbers are drawn: every
    pair is equally likely, and the pairs are never listed.
    """
    last_number = np.cumsum(end - begin)
    available = int(last_number[-1]) if len(last_number) else 0
    if not 0 < num_pairs <= available:
        raise ValueError(
            f"Expected between 1 and {available} {kind} trials, as these "
            f"utterances allow, got {num_pairs}: change num_trials to at most "
            f"{2 * available}, or give more utterances."
        )
    number = generator.choice(available, num_pairs, replace=False)
    i = np.searchsorted(last_number, number, side="right")
    j = end[i] - (last_number[i] - number)
    return np.stack([i, j], axis=1)
