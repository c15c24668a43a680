"""Labels count only where they are complete and agree with the trials."""

import numpy as np

from ssps_plugin.dataio.dataset import Table, TextColumn
from ssps_plugin.evaluation.trial_list import TrialList
from ssps_plugin.report.labels import labels_of_manifest, labels_of_trials


def table_of(**columns):
    columns = {name: TextColumn(values) for name, values in columns.items()}
    return Table(TextColumn(["1", "2"]), columns)


def test_recordings_of_two_speakers_are_two_whatever_they_are_called():
    labels = labels_of_manifest(
        table_of(speaker=["a", "b"], recording=["r", "r"])
    )
    assert list(labels.recordings) == ["a/r", "b/r"]


def test_manifest_in_which_one_row_has_no_speaker_has_no_labels():
    assert labels_of_manifest(table_of(speaker=["a", ""])) is None
    assert labels_of_manifest(table_of()) is None


def test_manifest_without_recordings_has_speakers():
    labels = labels_of_manifest(table_of(speaker=["a", "a"]))
    assert list(labels.speakers) == ["a", "a"] and labels.recordings is None


def test_names_that_are_not_speaker_recording_utterance_say_nothing():
    trials = TrialList.from_names([1], ["a.wav"], ["b.wav"])
    assert labels_of_trials(trials) is None


def test_names_of_a_list_without_labels_are_believed():
    trials = TrialList.from_names(None, ["x/r/1"], ["y/r/1"])
    assert labels_of_trials(trials).speakers == ["x", "y"]


def test_some_are_chosen_in_their_order():
    labels = labels_of_manifest(
        table_of(speaker=["a", "b"], recording=["r", "s"])
    ).choose(np.array([1, 0, 1]))
    assert list(labels.speakers) == ["b", "a", "b"]
    assert list(labels.recordings) == ["b/s", "a/r", "b/s"]
