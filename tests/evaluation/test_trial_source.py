"""Claims about where trials come from."""

import pathlib

import numpy as np
import pytest
import soundfile

from ssps_plugin.evaluation.trial_source import (
    find_trial_list,
    hold_out_trials,
    trial_speakers,
)
from ssps_plugin.evaluation.trials import read_trials


def write_corpus(folder, num_speakers, num_recordings=2, num_utterances=2):
    for speaker in range(num_speakers):
        for recording in range(num_recordings):
            place = folder / "wav" / f"s{speaker:02d}" / f"r{recording}"
            place.mkdir(parents=True)
            for utterance in range(num_utterances):
                path = place / f"{utterance}.wav"
                soundfile.write(path, np.full(1600, 0.1), 16000)
    return folder


def held_out(corpus, path, **options):
    given = {"num_speakers": 40, "num_trials": 100, "seed": 1, **options}
    assert hold_out_trials(corpus, path, **given)
    return read_trials(path)


def test_list_in_the_corpus_is_found(tmp_path):
    assert find_trial_list(tmp_path) is None
    (tmp_path / "veri_test.txt").write_text("1 a b\n")
    assert find_trial_list(tmp_path).name == "veri_test.txt"


def test_at_most_a_fifth_of_the_speakers_is_held_out(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=15)
    trials = held_out(corpus, tmp_path / "t.txt")
    assert len(trial_speakers(trials)) == 3


def test_target_trials_cross_recordings_and_names_start_from_the_corpus(
    tmp_path,
):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    trials = held_out(corpus, tmp_path / "t.txt")
    for label, (enrol, test) in zip(trials.labels, trials.pairs(), strict=True):
        one, other = pathlib.Path(enrol).parts, pathlib.Path(test).parts
        assert (one[-3] == other[-3]) == bool(label)
        assert label == 0 or one[-2] != other[-2]
        assert (corpus / enrol).is_file()


def test_as_many_target_as_impostor_trials_and_no_more_than_there_are(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    trials = held_out(corpus, tmp_path / "t.txt")
    # Two speakers of 2 x 2 utterances: 4 pairs each cross recordings.
    assert len(trials) == 16 and trials.labels.sum() == 8


def test_files_that_cannot_be_read_are_in_no_trial(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=4)
    for path in corpus.glob("wav/*/r0/0.wav"):
        path.write_bytes(b"not audio")
    trials = held_out(corpus, tmp_path / "t.txt")
    assert not any(name.endswith("r0/0.wav") for name in trials.utterances)


@pytest.mark.parametrize("num_speakers", [1, 3])
def test_too_few_speakers_make_no_trials(tmp_path, num_speakers):
    corpus = write_corpus(tmp_path / "c", num_speakers=num_speakers)
    path = tmp_path / "t.txt"
    assert not hold_out_trials(corpus, path, 40, 100, seed=1)
    assert not path.exists()


def test_nobody_is_held_out_where_none_is_asked_for(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=6)
    assert not hold_out_trials(corpus, tmp_path / "t.txt", 0, 100, seed=1)


def test_same_seed_holds_out_the_same(tmp_path):
    corpus = write_corpus(tmp_path / "c", num_speakers=12)
    one = held_out(corpus, tmp_path / "1.txt", seed=3)
    two = held_out(corpus, tmp_path / "2.txt", seed=3)
    assert one.utterances == two.utterances


def test_voxsrcs_names_tell_no_speaker_and_that_is_only_said(tmp_path, caplog):
    path = tmp_path / "voxsrc.txt"
    path.write_text(
        "1 voxsrc2020_val/00001.wav voxsrc2020_val/00002.wav\n"
        "0 wav/00001.wav wav/00002.wav\n"
    )
    trials = read_trials(path)
    assert trials.labels.tolist() == [1, 0]
    assert list(trials.pairs()) == [
        ("voxsrc2020_val/00001.wav", "voxsrc2020_val/00002.wav"),
        ("wav/00001.wav", "wav/00002.wav"),
    ]
    assert trial_speakers(trials) == set()
    assert "4 of 4 utterances of the trials name no speaker" in caplog.text
