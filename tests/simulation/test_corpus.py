"""Corpus folders: whole or not at all, and never over other files."""

import importlib
import logging
import sys

import numpy as np
import pytest

from ssps_plugin.simulation import make_minivox, simulate_recordings
from ssps_plugin.simulation.__main__ import main
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


def write(folder, description=DESCRIPTION):
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
    write(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)
    assert not folder.with_name("corpus.partial").exists()


def test_interrupted_run_leaves_no_corpus(folder):
    interrupt(folder)
    assert not folder.exists()


def test_interrupted_run_is_started_again(folder):
    interrupt(folder)
    write(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_interrupted_run_keeps_the_older_corpus(folder):
    write(folder)
    interrupt(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_corpus_of_another_description_is_replaced(folder):
    write(folder, {"seed": 2, "num_files": 1})
    assert not has_corpus(folder, NAME, DESCRIPTION)
    write(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_missing_waveform_makes_it_incomplete(folder):
    write(folder)
    (folder / "wav/a/b/1.wav").unlink()
    assert not has_corpus(folder, NAME, DESCRIPTION)


def test_broken_description_makes_it_incomplete(folder):
    write(folder)
    (folder / NAME).write_text("{")
    assert not has_corpus(folder, NAME, DESCRIPTION)


def test_empty_folder_is_used(folder):
    folder.mkdir()
    write(folder)
    assert has_corpus(folder, NAME, DESCRIPTION)


def test_file_in_the_way_is_refused(folder):
    folder.touch()
    with pytest.raises(FileExistsError, match="is a file"):
        write(folder)


def test_foreign_folder_of_the_partial_name_is_kept(folder):
    precious = folder.with_name("corpus.partial") / "precious"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(FileExistsError, match="left alone"):
        write(folder)
    assert precious.exists()


def test_foreign_file_in_an_older_corpus_is_kept(folder):
    write(folder, {"seed": 2, "num_files": 1})
    (folder / "precious").touch()
    with pytest.raises(FileExistsError, match="precious"):
        write(folder)
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


def test_lists_are_written_as_those_of_voxceleb(tmp_path):
    path = tmp_path / "trials.txt"
    write_trials(path, [Trial(1, "a/x/1.wav", "a/y/1.wav")])
    assert path.read_bytes() == b"1 a/x/1.wav a/y/1.wav\n"


@pytest.mark.parametrize("module", ["espeakng_loader", "pyroomacoustics"])
def test_minivox_without_an_extra_says_what_to_install(
    tmp_path, monkeypatch, module
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=rf"{module}.*\[demo\]"):
        make_minivox(tmp_path / "minivox")
    assert list(tmp_path.iterdir()) == []


def test_recordings_without_the_extra_say_what_to_install(
    tmp_path, monkeypatch
):
    (tmp_path / "clean/anna").mkdir(parents=True)
    (tmp_path / "clean/anna/1.wav").touch()
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(RuntimeError, match=r"\[demo\]"):
        simulate_recordings(tmp_path / "clean", tmp_path / "out")


def test_import_does_not_need_the_extras(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("ssps_plugin.simulation"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("pyroomacoustics", "espeakng_loader"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.import_module("ssps_plugin.simulation.__main__")


def test_minivox_command_makes_the_same_as_the_function(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    options = [f"--{name}={value}" for name, value in tiny_settings.items()]
    main(["minivox", str(tmp_path / "out"), *options, "--num_jobs=1"])
    assert digest(tmp_path / "out") == digest(tiny_minivox)
