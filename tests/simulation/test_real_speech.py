"""Recordings laid over clean speech."""

import csv

import numpy as np
import pytest
import soundfile

from ssps_plugin.simulation import simulate_recordings
from ssps_plugin.simulation.__main__ import main


@pytest.fixture
def clean_folder(tmp_path):
    """Three speakers: of 16, 8 and 16 kHz, the last in a folder deeper."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clean"
    for speaker, rate, number, suffix in (
        ("anna", 16000, 5, "anna/{}.wav"),
        ("bert", 8000, 4, "bert/{}.flac"),
        ("carl", 16000, 1, "carl/day/{}.ogg"),
    ):
        for index in range(number):
            path = folder / suffix.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            speech = 0.1 * rng.standard_normal((rate, 1 + (speaker == "anna")))
            soundfile.write(path, speech, rate)
    return folder


@pytest.fixture
def recordings(tmp_path, clean_folder):
    return simulate_recordings(
        clean_folder, tmp_path / "out", num_recordings=2, num_jobs=1
    )


def test_utterances_are_divided_over_recordings(recordings):
    for speaker, sizes in {"anna": [2, 3], "bert": [2, 2], "carl": [1]}.items():
        folders = (recordings / "wav" / speaker).iterdir()
        assert sorted(len(list(f.iterdir())) for f in folders) == sizes


def test_utterances_keep_their_duration_at_16_khz(recordings):
    for path in (recordings / "wav").glob("*/*/*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.duration == pytest.approx(1.0)


def test_trial_speakers_get_cross_recording_trials(tmp_path, clean_folder):
    folder = simulate_recordings(
        clean_folder, tmp_path / "out", 2, 3, 10, num_jobs=1
    )
    trials = [
        line.split() for line in (folder / "trials.txt").read_text().split("\n")
    ][:-1]
    assert {trial[0] for trial in trials} == {"0", "1"}
    for label, *pair in trials:
        one, other = (utterance.split("/") for utterance in pair)
        assert (label == "1") == (one[0] == other[0])
        assert one[1] != other[1]


def test_without_trial_speakers_all_train(recordings):
    with open(recordings / "speakers.csv", newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train"}
    assert (recordings / "trials.txt").read_text() == ""


def test_same_settings_give_the_same_bytes(
    tmp_path, clean_folder, recordings, digest
):
    again = simulate_recordings(
        clean_folder, tmp_path / "again", num_recordings=2, num_jobs=1
    )
    assert digest(again) == digest(recordings)


def test_changed_clean_speech_is_noticed(clean_folder, recordings):
    (clean_folder / "anna/0.wav").unlink()
    simulate_recordings(clean_folder, recordings, 2, num_jobs=1)
    assert len(list((recordings / "wav").glob("*/*/*.wav"))) == 9


def test_silent_utterance_is_named(tmp_path, clean_folder):
    soundfile.write(clean_folder / "anna/hush.wav", np.zeros(16000), 16000)
    with pytest.raises(ValueError, match=r"hush\.wav"):
        simulate_recordings(clean_folder, tmp_path / "out", num_jobs=1)


def test_folder_without_speech_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="<speaker>"):
        simulate_recordings(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("number", [1, 4])
def test_wrong_number_of_trial_speakers_is_refused(
    tmp_path, clean_folder, number
):
    with pytest.raises(ValueError, match="between 2 and 3"):
        simulate_recordings(
            clean_folder, tmp_path / "out", num_trial_speakers=number
        )


def test_command_makes_the_same_as_the_function(
    tmp_path, clean_folder, recordings, digest
):
    out = tmp_path / "command"
    main(
        ["recordings", str(clean_folder), str(out)]
        + ["--num_recordings", "2", "--num_jobs", "1"]
    )
    assert digest(out) == digest(recordings)
