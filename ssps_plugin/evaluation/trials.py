"""Trial lists: lines of ``label enrol test``, read and written.

VoxCeleb's layout: label 1 for a target trial (one speaker), 0 for an impostor
trial (two speakers), then the file names of the two utterances.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.evaluation.trial_list import TrialList, first_appearance

#: Read and written at a time: bounds the memory that split lines take, and
#: keeps them in the processor's cache.
CHARACTERS_PER_BLOCK = 2**18
_LABELS = {"0", "1"}
_END_OF_LINE = "\0"


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
    position = first_appearance()
    labels, pairs = [], []
    for block_labels, names in _read_blocks(path):
        labels.append(np.fromiter(map("1".__eq__, block_labels), np.uint8))
        pairs.append(np.fromiter(map(position.__getitem__, names), np.int64))
    if not position:
        raise ValueError(
            f"{path}: expected lines of `label enrol test`, got an empty file: "
            "check `trials`."
        )
    return TrialList.from_pairs(
        [*position], np.concatenate(labels), np.concatenate(pairs)
    )


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


def _read_blocks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Labels, and names alternating enrol and test, some lines at a time."""
    line_number = 1
    with open(path, encoding="utf-8-sig") as file:
        while block := _read_block(file, path):
            try:
                yield _split_regular(block) or _split_lines(block, line_number)
            except ValueError as error:
                raise ValueError(f"{path}, {error}") from None
            line_number += block.count("\n")


def _read_block(file: TextIO, path: Path) -> str:
    """Some whole lines; nothing at the end of the file."""
    try:
        return file.read(CHARACTERS_PER_BLOCK) + file.readline()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text (UTF-8), got {error}: check `trials`."
        ) from None


def _split_regular(block: str) -> tuple[list[str], list[str]] | None:
    """Fields of a block of nothing but trials; None if anything is unusual.

    A mark that no file name can contain stands for each line's end. If every
    fourth field is a mark, and there are no others, each line has three.
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


def _split_lines(block: str, line_number: int) -> tuple[list[str], list[str]]:
    """The same line by line: skips blank lines, names a malformed one."""
    labels, names = [], []
    for number, line in enumerate(block.split("\n"), line_number):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in _LABELS:
            raise ValueError(
                f"line {number}: expected `label enrol test` with label 0 or "
                f"1, got {line.strip()[:200]!r}: correct the line or `trials`."
            )
        labels.append(fields[0])
        names += fields[1:]
    return labels, names
