"""Who speaks, and in which recording: from a manifest or from names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from ssps_plugin.dataio.dataset import Table
from ssps_plugin.evaluation.trial_list import TrialList


@dataclass(frozen=True)
class Labels:
    """Speaker and recording of every utterance; for diagnostics only.

    Arguments
    ---------
    speakers : sequence of str
        The speaker of each utterance.
    recordings : sequence of str or None
        The recording, named with its speaker; None where it is unknown.
    """

    speakers: Sequence[str]
    recordings: Sequence[str] | None

    def choose(self, index: NDArray[np.integer]) -> Labels:
        """Return the labels of some utterances, in that order."""
        recordings = self.recordings
        return Labels(
            [self.speakers[i] for i in index],
            None if recordings is None else [recordings[i] for i in index],
        )


def labels_of_manifest(table: Table) -> Labels | None:
    """Return the labels in a manifest; None unless every row has a speaker.

    Arguments
    ---------
    table : Table
        The manifest, with or without the columns `speaker` and `recording`.

    Returns
    -------
    Labels or None
    """
    speakers = list(table.columns.get("speaker", []))
    if not speakers or not all(speakers):
        return None
    recordings = list(table.columns.get("recording", []))
    if not recordings or not all(recordings):
        return Labels(speakers, None)
    # Two speakers may have recordings of the same name.
    pairs = zip(speakers, recordings, strict=True)
    return Labels(speakers, [f"{one}/{name}" for one, name in pairs])


def labels_of_trials(trials: TrialList) -> Labels | None:
    """Read labels from names of the form `<speaker>/<recording>/<utterance>`.

    They count only if they agree with the list: both sides of a target trial
    are of one speaker, those of an impostor trial of two.

    Arguments
    ---------
    trials : TrialList
        The list.

    Returns
    -------
    Labels or None
        One entry for each of `trials.utterances`; None where names say
        nothing, or something else than the labels.

    Example
    -------
    >>> names = ["id1/a/1.wav", "id1/b/1.wav", "id2/a/1.wav"]
    >>> trials = TrialList.from_names([1, 0], names[:1] * 2, names[1:])
    >>> labels_of_trials(trials).recordings
    ['id1/a', 'id1/b', 'id2/a']
    >>> trials = TrialList.from_names([0, 1], names[:1] * 2, names[1:])
    >>> labels_of_trials(trials) is None
    True
    """
    parts = [_split(name) for name in trials.utterances]
    if any(len(part) < 3 for part in parts):
        return None
    labels = Labels(
        [part[-3] for part in parts],
        [f"{part[-3]}/{part[-2]}" for part in parts],
    )
    if trials.labels is not None:
        numbers = number_labels(labels.speakers)
        is_same = numbers[trials.enrol] == numbers[trials.test]
        if not np.array_equal(is_same, trials.labels == 1):
            return None
    return labels


def number_labels(labels: Sequence[str]) -> NDArray[np.int64]:
    """Number labels in order of first appearance, `(num,)`.

    Example
    -------
    >>> number_labels(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def _split(name: str) -> tuple[str, ...]:
    parts = PurePath(name).parts
    if len(parts) < 3 and "\\" in name:
        return PureWindowsPath(name).parts
    return parts
