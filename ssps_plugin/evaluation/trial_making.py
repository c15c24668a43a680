"""Trials for a corpus that comes without a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.evaluation.trial_list import TrialList


def make_trials(
    utterances: Mapping[str, Mapping[str, Iterable[str]]],
    num_trials: int,
    seed: int,
) -> TrialList:
    """Draw as many target as impostor trials, none twice.

    Target trials cross recordings, so that sharing a channel is no help; a
    speaker with a single recording gets pairs of utterances within it.
    Impostor trials pair two speakers. Every possible pair is equally likely.

    Arguments
    ---------
    utterances : mapping of str to mapping of str to iterable of str
        Speaker to recording to names of utterances, each name once.
    num_trials : int
        Trials in all, at least 2; of an odd number, one more is an impostor.
    seed : int
        The same seed and utterances, in any order, give the same trials.

    Returns
    -------
    TrialList
        In random order.

    Raises
    ------
    ValueError
        If there are not that many pairs of either kind.

    Example
    -------
    >>> corpus = {"anna": {"r1": ["a1", "a2"], "r2": ["a3"]},
    ...           "ben": {"r3": ["b1", "b2"]}}
    >>> trials = make_trials(corpus, num_trials=6, seed=0)
    >>> pairs = [sorted(pair) for pair in trials.pairs()]
    >>> sorted(p for p, label in zip(pairs, trials.labels) if label)
    [['a1', 'a3'], ['a2', 'a3'], ['b1', 'b2']]
    """
    names, speaker_end, recording_end = _ordered(utterances)
    generator = np.random.default_rng(seed)
    first = np.arange(len(names))
    is_alone = _start_of_run(recording_end) == _start_of_run(speaker_end)
    is_alone &= recording_end == speaker_end
    targets = _draw_pairs(
        np.where(is_alone, first + 1, recording_end),
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


def _ordered(
    utterances: Mapping[str, Mapping[str, Iterable[str]]],
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Names by speaker and recording, and where each one's run of them ends."""
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
            "expected every utterance name once, got "
            f"{len(names) - len(set(names))} repeated."
        )
    return np.array(names), _ends(speaker_sizes), _ends(recording_sizes)


def _ends(sizes: list[int]) -> NDArray[np.int64]:
    """Where its run of names ends, for every name."""
    return np.repeat(np.cumsum(sizes, dtype=np.int64), np.array(sizes, int))


def _start_of_run(end: NDArray[np.int64]) -> NDArray[np.int64]:
    """First position that shares its end of run, for every position."""
    return np.searchsorted(end, end, side="left")


def _draw_pairs(
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    num_pairs: int,
    generator: np.random.Generator,
    kind: str,
) -> NDArray[np.int64]:
    """Draw distinct pairs (i, j) with begin[i] <= j < end[i].

    All such pairs are numbered, i by i, and numbers drawn: exact, and nothing
    is ever enumerated.
    """
    last_number = np.cumsum(end - begin)
    available = int(last_number[-1]) if len(last_number) else 0
    if not 0 < num_pairs <= available:
        raise ValueError(
            f"expected between 1 and {available} {kind} trials, which is what "
            f"these utterances allow, got {num_pairs}: set `num_trials` to at "
            f"most {2 * available}, or give more utterances."
        )
    number = generator.choice(available, num_pairs, replace=False)
    i = np.searchsorted(last_number, number, side="right")
    j = end[i] - (last_number[i] - number)
    return np.stack([i, j], axis=1)
