"""Corpus folders, whole or not at all, and the trials drawn in them."""

import logging

import numpy as np
import pytest

from ssps_plugin.simulation.corpus import (
    Trial,
    corpus_in_progress,
    draw_trials,
    has_corpus,
    write_trials,
)

NAME = "corpus.json"
DESCRIPTION = {"seed": 1, "num_files": 1}

GENDERS = {"a": "f", "b": "m", "c": "f", "d": "m"}
UTTERANCES = [
    f"{speaker}/{speaker}{recording}/{number:05d}.wav"
    for speaker in GENDERS
    for recording in range(3)
    for number in range(1, 4)
]


def write_corpus(folder, description=DESCRIPTION):
    with corpus_in_progress(folder, NAME, description) as partial:
        (partial / "wav/a/b").mkdir(parents=True)
        (partial / "wav/a/b/1.wav").touch()
        (partial / "trials.txt").touch()
        (partial / "speakers.csv").touch()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "corpus"


def interrupt(folder):
    with (
        pytest.raises(KeyboardInterrupt),
        corpus_in_progress(folder, NAME, DESCRIPTION) as partial,
    ):
        (partial / "wav").mkdir()
        raise KeyboardInterrupt


def test_finished_corpus_is_found(folder):
    write_corpus(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)
    assert not folder.with_name("corpus.partial").exists()


def test_interrupted_run_leaves_no_corpus(folder):
    interrupt(folder)
    assert not folder.exists()


def test_interrupted_run_is_started_again(folder):
    interrupt(folder)
    write_corpus(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_interrupted_run_keeps_the_older_corpus(folder):
    write_corpus(folder)
    interrupt(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_corpus_of_another_description_is_replaced(folder):
    write_corpus(folder, {"seed": 2, "num_files": 1})
    assert not has_corpus(folder, NAME, DESCRIPTION)
    write_corpus(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_missing_waveform_makes_it_incomplete(folder):
    write_corpus(folder)
    (folder / "wav/a/b/1.wav").unlink()
    assert not has_corpus(folder, NAME, DESCRIPTION)


def test_broken_description_makes_it_incomplete(folder):
    write_corpus(folder)
    (folder / NAME).write_text("{")
    assert not has_corpus(folder, NAME, DESCRIPTION)


def test_empty_folder_is_used(folder):
    folder.mkdir()
    write_corpus(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_file_in_the_way_is_refused(folder):
    folder.touch()
    with pytest.raises(
        FileExistsError, match="got a file: choose another folder"
    ):
        write_corpus(folder)


def test_foreign_folder_of_the_partial_name_is_kept(folder):
    precious = folder.with_name("corpus.partial") / "precious"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(FileExistsError, match="left alone"):
        write_corpus(folder)
    assert precious.exists()


def test_foreign_file_in_an_older_corpus_is_kept(folder):
    write_corpus(folder, {"seed": 2, "num_files": 1})
    (folder / "precious").touch()
    with pytest.raises(FileExistsError, match="precious"):
        write_corpus(folder)
    assert (folder / "precious").exists()


@pytest.fixture
def trials():
    return draw_trials(UTTERANCES, GENDERS, 100, np.random.default_rng(3))


def speakers(trial):
    return trial.enrolment[0], trial.test[0]


def test_half_of_the_trials_are_targets(trials):
    assert [trial.label for trial in trials].count(1) == 50
    assert len(trials) == 100


def test_labels_say_whether_the_speaker_is_the_same(trials):
    for trial in trials:
        one, other = speakers(trial)
        assert trial.label == (one == other)


def test_targets_cross_recordings(trials):
    for trial in trials:
        if trial.label:
            assert trial.enrolment[:4] != trial.test[:4]


def test_half_of_the_impostors_are_of_the_same_gender(trials):
    impostors = [trial for trial in trials if not trial.label]
    same = [
        GENDERS[one] == GENDERS[other]
        for one, other in map(speakers, impostors)
    ]
    assert sum(same) == 25


def test_no_trial_comes_twice_in_either_order(trials):
    pairs = {frozenset((trial.enrolment, trial.test)) for trial in trials}
    assert len(pairs) == len(trials)


def test_order_mixes_the_labels(trials):
    labels = [trial.label for trial in trials]
    assert labels != sorted(labels)
    assert labels != sorted(labels, reverse=True)


def test_same_generator_state_draws_the_same_trials(trials):
    again = draw_trials(UTTERANCES, GENDERS, 100, np.random.default_rng(3))
    assert again == trials


def test_impostors_of_any_gender_fill_up_where_none_share_it():
    genders = {"a": "f", "b": "m"}
    utterances = [name for name in UTTERANCES if name[0] in genders]
    trials = draw_trials(utterances, genders, 20, np.random.default_rng(0))
    assert [trial.label for trial in trials].count(0) == 10


def test_too_few_utterances_give_fewer_trials_and_a_warning(caplog):
    utterances = ["a/x/1.wav", "a/y/1.wav", "b/z/1.wav"]
    with caplog.at_level(logging.WARNING):
        trials = draw_trials(utterances, GENDERS, 100, np.random.default_rng(0))
    assert sorted(trial.label for trial in trials) == [0, 0, 1]
    assert "Only 3" in caplog.text


def test_trials_are_written_as_those_of_voxceleb(tmp_path):
    path = tmp_path / "trials.txt"
    write_trials(path, [Trial(1, "a/x/1.wav", "a/y/1.wav")])
    assert path.read_bytes() == b"1 a/x/1.wav a/y/1.wav\n"
