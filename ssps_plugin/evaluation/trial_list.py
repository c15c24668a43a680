"""Trial lists: which utterances are compared; read, written and made.

A line is `label enrol test`, label 1 for two utterances of one speaker and 0
for two speakers; or, where the labels are unknown, `enrol test`. Fields are
separated by white space. In a line with tabs, tabs alone may separate them:
names may then hold blanks.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from speechbrain.utils.logger import get_logger

from ssps_plugin.atomic_write import atomic_write

logger = get_logger(__name__)

#: Trials whose names are looked up at a time: bounds the memory of `pairs`.
TRIALS_PER_BLOCK = 4096
#: Characters read at a time: bounds the memory that split lines take, and
#: keeps them in the processor's cache.
CHARACTERS_PER_BLOCK = 2**18
#: Two paths and a label are shorter: bounds the memory that a file without
#: ends of lines takes.
LONGEST_LINE = 2**16
#: The longest path on Linux, in bytes.
LONGEST_NAME = 4096
_LABELS = {"0", "1"}
# As other tools write them: these have a hint of their own.
_LABEL_WORDS = {"target", "nontarget", "impostor", "imposter", "true", "false"}
# No file name can contain it.
_END_OF_LINE = "\0"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FILE_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe, which can be read only once",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class TrialList:
    """Trials as pairs of positions in a list of distinct utterances.

    Arguments
    ---------
    utterances : list of str
        Distinct names, in order of first appearance.
    labels : numpy.ndarray or None
        `(trials,)` uint8, 1 for a target trial, 0 for an impostor trial; None
        where they are unknown, as in the lists that challenges hand out. Such
        trials can be scored; only error rates need labels.
    enrol : numpy.ndarray
        `(trials,)` int64, position of the enrolment in `utterances`.
    test : numpy.ndarray
        `(trials,)` int64, position of the test in `utterances`.
    """

    utterances: list[str]
    labels: NDArray[np.uint8] | None
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def from_names(
        cls,
        labels: Iterable[int] | None,
        enrol: Iterable[str],
        test: Iterable[str],
    ) -> TrialList:
        """Make a list from utterance names instead of positions.

        Arguments
        ---------
        labels : iterable of int or None
            1 for a target trial, 0 for an impostor trial; None if unknown.
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
        known = None if labels is None else np.array([*labels], np.uint8)
        return cls.from_pairs([*position], known, pairs)

    @classmethod
    def from_pairs(
        cls,
        utterances: list[str],
        labels: NDArray[np.uint8] | None,
        pairs: NDArray[np.int64],
    ) -> TrialList:
        """Make a list from positions that alternate: enrol, test, enrol, …

        Arguments
        ---------
        utterances : list of str
            Distinct names.
        labels : numpy.ndarray or None
            `(trials,)` uint8; None if unknown.
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
        return len(self.enrol)

    def count_labels(self) -> tuple[int, int] | None:
        """Count the target and the impostor trials.

        Returns
        -------
        tuple of int, or None
            None where the labels are unknown.

        Example
        -------
        >>> TrialList.from_names([1, 0, 0], "aab", "bcc").count_labels()
        (1, 2)
        """
        if self.labels is None:
            return None
        num_targets = int(np.count_nonzero(self.labels))
        return num_targets, len(self) - num_targets

    def missing_labels(self) -> str:
        """Describe why the list has no error rates; empty if it has.

        Example
        -------
        >>> TrialList.from_names([1, 1], "aa", "bc").missing_labels()
        'all of its 2 trials are target trials (label 1)'
        >>> TrialList.from_names(None, "aa", "bc").missing_labels()
        'its 2 trials have no labels'
        """
        counts = self.count_labels()
        if counts is None:
            return f"its {len(self)} trials have no labels"
        if all(counts):
            return ""
        kind = "target trials (label 1)"
        if not counts[0]:
            kind = "impostor trials (label 0)"
        return f"all of its {len(self)} trials are {kind}"

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
        Text file (UTF-8) with a line `label enrol test` per trial, or
        `enrol test` in all of them. A line whose names hold blanks has tabs
        between its fields.

    Returns
    -------
    TrialList
        Its `labels` are None if the lines have none.

    Raises
    ------
    FileNotFoundError
        There is no such file, or it is a folder or a pipe.
    ValueError
        A line is not of that form (the message has its number), there is
        none, or the file is no text in UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "trials.txt"
    >>> _ = path.write_text("1 a.wav b.wav\\n0\\ta.wav\\tmy c.wav\\n")
    >>> trials = read_trials(path)
    >>> trials.labels.tolist(), trials.utterances
    ([1, 0], ['a.wav', 'b.wav', 'my c.wav'])
    """
    path = Path(path)
    kind = describe_file_kind(path)
    if kind:
        raise FileNotFoundError(
            f"Expected a trial list at {path}, got {kind}: change `trials` to "
            "a file with a line `label enrol test` per trial."
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
    _check_name_length(max(position, key=len), path)
    known = np.concatenate(labels)
    return TrialList.from_pairs(
        [*position], known if len(known) else None, np.concatenate(pairs)
    )


def describe_file_kind(path: str | os.PathLike[str]) -> str:
    """Describe what is in the place of a regular file; empty if it is one.

    Example
    -------
    >>> describe_file_kind(getfixture("tmp_path"))
    'a folder'
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "no such file"
    except (OSError, ValueError) as error:  # no permission, or no path at all
        reason = getattr(error, "strerror", None) or error
        return f"no such file ({reason})"
    if stat.S_ISREG(mode):
        return ""
    return _FILE_KINDS.get(stat.S_IFMT(mode), "no regular file")


def _check_name_length(longest: str, path: Path) -> None:
    if len(longest) > LONGEST_NAME:
        raise ValueError(
            f"Expected names of at most {LONGEST_NAME} characters in {path}, "
            f"got one of {len(longest)}, {longest[:60]!r}…: change `trials`."
        )


def _read_blocks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield labels, and names alternating enrol and test, of some lines.

    Of a list without labels, the first are empty.
    """
    line_number = 1
    labelled: bool | None = None  # until the first trial
    with _open_list(path) as file:
        while block := _read_block(file, path, line_number):
            regular = _split_regular(block, labelled)
            labels, names = regular or _split_lines(
                block, line_number, path, labelled
            )
            if names:
                labelled = bool(labels)
            yield labels, names
            line_number += block.count("\n")


def _open_list(path: Path) -> TextIO:
    try:
        return open(path, encoding="utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> OSError:
    """Make an error of the same kind that names the file and the key."""
    return type(error)(
        f"Expected to read the trial list {path}, got "
        f"{error.strerror or error}: change `trials`, or try again."
    )


def _read_block(file: TextIO, path: Path, line_number: int) -> str:
    """Read some whole lines; an empty string at the end of the file."""
    try:
        block = file.read(CHARACTERS_PER_BLOCK)
        end = file.readline(LONGEST_LINE)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text (UTF-8) in {path}, got "
            f"{_describe_undecodable(path) or error}: change `trials`."
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    block += end
    if _END_OF_LINE in block:
        line_number += block.count("\n", 0, block.index(_END_OF_LINE))
        raise ValueError(
            f"Expected text (UTF-8) in {path}, got a NUL in line "
            f"{line_number}, as text in UTF-16 and files that are no text "
            "have: save it as UTF-8, or change `trials`."
        )
    if len(end) == LONGEST_LINE and not end.endswith("\n"):
        line_number += block.count("\n")
        raise ValueError(
            f"Expected lines of `label enrol test` in {path}, got a line "
            f"{line_number} of more than {LONGEST_LINE} characters: change "
            "`trials`."
        )
    return block


def _describe_undecodable(path: Path) -> str:
    """Describe where a file ceases to be UTF-8, and what it may be."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line_number = 1
    with open(path, "rb") as file:
        while chunk := file.read(CHARACTERS_PER_BLOCK):
            if line_number == 1 and chunk.startswith(_UTF16_MARKS):
                return "UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
            try:
                line_number += decoder.decode(chunk).count("\n")
            except UnicodeDecodeError as error:
                line_number += error.object.count(b"\n", 0, error.start)
                byte = error.object[error.start]
                return (
                    f"the byte 0x{byte:02x} in line {line_number}, as text in "
                    "Latin-1 and files that are no text have; save it as "
                    "UTF-8 (iconv -f LATIN1 -t UTF-8)"
                )
    return ""


def _split_regular(
    block: str, labelled: bool | None
) -> tuple[list[str], list[str]] | None:
    """Split a block of nothing but trials; None if anything is unusual.

    A mark takes the place of each line's end. If every fourth field is a mark,
    and there are no others, each line has three fields. Without labels, it is
    every third.
    """
    fields = block.replace("\n", f" {_END_OF_LINE} ").split()
    num_lines = block.count("\n")
    num_fields = 2 if labelled is False else 3
    if labelled is None and len(fields) == 3 * num_lines:
        num_fields = 2
    marks = fields[num_fields :: num_fields + 1]
    if len(fields) != (num_fields + 1) * num_lines or set(marks) != {
        _END_OF_LINE
    }:
        return None
    firsts = fields[0 :: num_fields + 1]
    if num_fields == 2:
        # What may make it another file has to be looked at line by line.
        if any(mark in block for mark in "\t,;<{") or _LABELS & set(firsts):
            return None
        del fields[2::3]
        return [], fields
    if not set(firsts) <= _LABELS:
        return None
    del fields[3::4]
    del fields[0::3]
    return firsts, fields


def _split_lines(
    block: str, line_number: int, path: Path, labelled: bool | None
) -> tuple[list[str], list[str]]:
    """Split a block line by line: skip blank lines, refuse a malformed one."""
    labels, names = [], []
    for number, line in enumerate(block.split("\n"), line_number):
        if not line.strip():
            continue
        fields = _split_line(line)
        if fields is None or labelled not in (None, len(fields) == 3):
            form = "`label enrol test` with label 0 or 1, or `enrol test`,"
            if labelled is not None:
                form = "`label enrol test`" if labelled else "`enrol test`"
                form += " as in the lines before"
            raise ValueError(
                f"Expected {form} in {path}, line {number}, got "
                f"{line.strip()[:200]!r}: {_advise(line, number)}correct the "
                "line, or change `trials`."
            )
        labelled = len(fields) == 3
        labels += fields[:-2]
        names += fields[-2:]
    return labels, names


def _split_line(line: str) -> list[str] | None:
    """Split a line into `label enrol test` or `enrol test`; None if neither.

    Three words with a label first are a trial whatever separates them: tabs
    are looked at only where words do not make one.
    """
    words = line.split()
    if len(words) == 3 and words[0] in _LABELS:
        return words
    fields = words
    if "\t" in line:
        fields = [field for field in map(str.strip, line.split("\t")) if field]
    # A label and one name is a trial that lacks a name, not two names.
    if len(fields) != (3 if fields[0] in _LABELS else 2):
        return None
    if len(fields) == 2 and _is_of_another_file(fields[0]):
        return None
    return fields


def _is_of_another_file(first: str) -> bool:
    """Whether two fields are rather a line of CSV, of HTML or of JSON."""
    return (
        first.endswith((",", ";"))
        or first[0] in "<{"
        or first[:2] in {"0,", "1,", "0;", "1;"}
    )


def _advise(line: str, number: int) -> str:
    """Advise on the usual mistakes in a line; empty if it is another."""
    words = line.split()
    if "," in line or ";" in line:
        return "separate the fields by blanks or tabs, not by commas; "
    if _LABEL_WORDS.intersection(map(str.lower, words)):
        return "the label comes first, 1 for a target trial and 0 for another; "
    if len(words) == 3 and words[-1] in _LABELS:
        return "the label comes first; "
    if len(words) == 3 and number == 1:
        return "take names of columns out; "
    if len(words) > 3:
        return "separate the fields by tabs if names hold blanks; "
    if len(words) == 2 and words[0] in _LABELS:
        return "a name is missing; "
    return ""


def write_trials(path: str | os.PathLike[str], trials: TrialList) -> None:
    """Write a list that `read_trials` reads back unchanged.

    Fields are separated by a blank, and by tabs in lines where a name holds
    blanks.

    Arguments
    ---------
    path : str or os.PathLike
        Written whole or not at all.
    trials : TrialList
        What to write.

    Raises
    ------
    ValueError
        An utterance's name could not be read back: it is empty, has white
        space at an end, or holds a tab or an end of a line. Where there are
        no labels, no name may look like one, nor end in a comma.
    """
    for name in trials.utterances:
        _check_writable(name)
    if trials.labels is None:
        lines = trial_lines(trials, None)
        lines = map(_checked_line, lines, trials.pairs())
    else:
        lines = trial_lines(trials, trials.labels.tolist())
    with atomic_write(path) as file:
        file.writelines(lines)


def trial_lines(
    trials: TrialList, first: Iterable[object] | None
) -> Iterator[str]:
    """Yield a line per trial: what is given first, then the two names.

    Arguments
    ---------
    trials : TrialList
        The trials.
    first : iterable or None
        Of each trial, a label or a score; None for the names alone.

    Yields
    ------
    str
        Fields separated by blanks, or by tabs if a name holds white space.

    Example
    -------
    >>> trials = TrialList.from_names(None, ["a", "a"], ["b", "my c"])
    >>> list(trial_lines(trials, [0.5, 1]))
    ['0.5 a b\\n', '1\\ta\\tmy c\\n']
    """
    firsts = repeat("", len(trials)) if first is None else first
    blank = {name for name in trials.utterances if name.split() != [name]}
    for one, (enrol, test) in zip(firsts, trials.pairs(), strict=True):
        if blank and (enrol in blank or test in blank):
            fields = (enrol, test) if first is None else (str(one), enrol, test)
            yield "\t".join(fields) + "\n"
        elif first is None:
            yield f"{enrol} {test}\n"
        else:
            yield f"{one} {enrol} {test}\n"


def _check_writable(name: str) -> None:
    problem = ""
    if not name or name != name.strip():
        problem = "that are not empty and have no white space at an end"
    elif any(character in name for character in "\t\n\r\0"):
        problem = "without tabs and ends of lines"
    elif len(name) > LONGEST_NAME:
        problem = f"of at most {LONGEST_NAME} characters"
    elif not _is_text(name):
        problem = "that are text (UTF-8)"
    if problem:
        raise ValueError(
            f"Expected utterance names {problem}, got {name[:200]!r}: change "
            "the name."
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked_line(line: str, names: tuple[str, str]) -> str:
    # A byte order mark is dropped where a file starts with one.
    if _split_line(line) != [*names] or line.startswith("\ufeff"):
        raise ValueError(
            "Expected names that cannot be mistaken for a label, since the "
            f"list has none, got {line.strip()[:200]!r}: change the names."
        )
    return line


def warn_unusual_trials(
    trials: TrialList,
    path: str | os.PathLike[str],
    files: Iterable[Hashable] | None = None,
) -> None:
    """Warn of trials that contradict each other, repeat one, or are of one.

    A pair is the same in either order. One line counts all, with an example of
    each kind.

    Arguments
    ---------
    trials : TrialList
        The trials.
    path : str or os.PathLike
        Where they were read from.
    files : iterable, optional
        The file of each utterance: two names of one file are one utterance.
    """
    keys: list[Hashable] = [*(trials.utterances if files is None else files)]
    number_of = {key: number for number, key in enumerate(keys)}
    number = np.array([number_of[key] for key in keys])
    sides = np.sort(number[np.stack([trials.enrol, trials.test])], axis=0)
    pair_keys = sides[0] * len(number) + sides[1]
    _, first, pair_of, counts = np.unique(
        pair_keys, return_index=True, return_inverse=True, return_counts=True
    )
    contradicts = np.zeros(len(first), bool)
    if trials.labels is not None:
        num_targets = np.bincount(pair_of, trials.labels)
        contradicts = (num_targets > 0) & (num_targets < counts)
    repeats = (counts > 1) & ~contradicts
    itself = np.flatnonzero(sides[0] == sides[1])
    kinds = (
        ("compare an utterance with itself", len(itself), itself),
        (
            "repeat a pair, in either order",
            int((counts - 1)[repeats].sum()),
            first[repeats],
        ),
        (
            "are of pairs that are target and impostor trials at once",
            int(counts[contradicts].sum()),
            first[contradicts],
        ),
    )
    found = [
        f"{num} {what} ({_name_trial(trials, int(examples.min()))})"
        for what, num, examples in kinds
        if num
    ]
    if found:
        logger.warning(
            "Of %d trials in %s, %s: all are scored, and count in error rates. "
            "Take them out of the list if that is not meant.",
            len(trials),
            os.fspath(path),
            ", ".join(found),
        )


def _name_trial(trials: TrialList, index: int) -> str:
    """Name the two utterances of a trial."""
    one, other = trials.enrol[index], trials.test[index]
    return f"{trials.utterances[one]} {trials.utterances[other]}"


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
