"""Trials: balance, crossing of recordings, no repetition."""

import logging

import numpy as np
import pytest

from ssps_plugin.simulation.trials import Trial, draw_trials, write_trials

GENDERS = {"a": "f", "b": "m", "c": "f", "d": "m"}
UTTERANCES = [
    f"{speaker}/{speaker}{recording}/{number:05d}.wav"
    for speaker in GENDERS
    for recording in range(3)
    for number in range(1, 4)
]


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
