"""MiniVox: layout, determinism, what is rebuilt and what is left alone."""

import csv
import itertools
import json
import logging
import re

import numpy as np
import pytest
import soundfile

from ssps_plugin.simulation import make_minivox
from ssps_plugin.simulation.__main__ import main


def read_speakers(folder):
    with open(folder / "speakers.csv", newline="") as file:
        return list(csv.DictReader(file))


def read_trials(folder):
    lines = (folder / "trials.txt").read_text().splitlines()
    return [line.split() for line in lines]


def test_layout_is_that_of_voxceleb(tiny_minivox):
    paths = sorted((tiny_minivox / "wav").glob("*/*/*"))
    pattern = r"id1000[1-4]/[A-Za-z0-9]{11}/0000[12]\.wav"
    names = [p.relative_to(tiny_minivox / "wav").as_posix() for p in paths]
    assert len(names) == 4 * 2 * 2
    assert all(re.fullmatch(pattern, name) for name in names)
    assert len({name.split("/")[1] for name in names}) == 4 * 2


def test_waveforms_are_16_khz_mono_pcm_within_the_bounds(tiny_minivox):
    for path in (tiny_minivox / "wav").glob("*/*/*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.subtype == "PCM_16"
        assert 1.0 <= info.duration <= 1.5


def test_no_waveform_is_silent_or_clipped(tiny_minivox):
    for path in (tiny_minivox / "wav").glob("*/*/*.wav"):
        waveform = soundfile.read(path)[0]
        assert np.abs(waveform).max() <= 0.91
        assert np.sqrt(np.mean(waveform**2)) > 10 ** (-40 / 20)


def test_speakers_are_of_both_genders_and_of_one_split_each(tiny_minivox):
    rows = read_speakers(tiny_minivox)
    assert [row["speaker"] for row in rows] == [
        f"id1000{number}" for number in range(1, 5)
    ]
    assert [row["gender"] for row in rows] == ["f", "m", "f", "m"]
    assert [row["split"] for row in rows] == ["train"] * 2 + ["trial"] * 2


def test_trials_use_existing_waveforms_of_trial_speakers_only(tiny_minivox):
    rows = read_speakers(tiny_minivox)
    train = {row["speaker"] for row in rows if row["split"] == "train"}
    for _, *pair in read_trials(tiny_minivox):
        for utterance in pair:
            assert (tiny_minivox / "wav" / utterance).is_file()
            assert utterance.split("/")[0] not in train


def test_target_trials_cross_recordings(tiny_minivox):
    targets = [t[1:] for t in read_trials(tiny_minivox) if t[0] == "1"]
    assert targets
    for enrolment, test in targets:
        assert enrolment.split("/")[0] == test.split("/")[0]
        assert enrolment.split("/")[1] != test.split("/")[1]


def test_all_waveforms_differ(tiny_minivox, digest):
    digests = digest(tiny_minivox / "wav")
    assert len(set(digests.values())) == len(digests)


def test_bytes_do_not_depend_on_the_number_of_jobs(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    again = make_minivox(tmp_path / "again", **tiny_settings, num_jobs=2)
    assert digest(again) == digest(tiny_minivox)


def test_bytes_do_not_depend_on_what_was_made_before(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    settings = {**tiny_settings, "num_speakers": 3, "seed": 8}
    make_minivox(tmp_path / "other", **settings, num_jobs=1)
    again = make_minivox(tmp_path / "again", **tiny_settings, num_jobs=1)
    assert digest(again) == digest(tiny_minivox)


def test_another_seed_gives_another_corpus(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    settings = {**tiny_settings, "seed": 8}
    other = make_minivox(tmp_path / "other", **settings, num_jobs=1)
    both = itertools.chain(
        digest(other / "wav").values(), digest(tiny_minivox / "wav").values()
    )
    assert len(set(both)) == 32


def test_description_holds_settings_and_format_version(
    tiny_minivox, tiny_settings
):
    description = json.loads((tiny_minivox / "minivox.json").read_text())
    assert description.items() >= tiny_settings.items()
    assert description["format_version"] >= 1


@pytest.fixture
def own_minivox(tmp_path, tiny_settings):
    settings = {**tiny_settings, "num_speakers": 3, "num_utterances": 1}
    folder = make_minivox(tmp_path / "minivox", **settings, num_jobs=1)
    return folder, settings


def test_complete_corpus_is_left_as_it_is(own_minivox, caplog):
    folder, settings = own_minivox
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level(logging.INFO):
        make_minivox(folder, **settings)
    assert "already" in caplog.text
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize("missing", ["wav/*/*/00001.wav", "trials.txt"])
def test_incomplete_corpus_is_rebuilt(own_minivox, digest, missing):
    folder, settings = own_minivox
    before = digest(folder)
    next(folder.glob(missing)).unlink()
    make_minivox(folder, **settings, num_jobs=1)
    assert digest(folder) == before


def test_corpus_of_other_settings_is_rebuilt(own_minivox):
    folder, settings = own_minivox
    make_minivox(folder, **{**settings, "num_utterances": 2}, num_jobs=1)
    assert len(list((folder / "wav").glob("*/*/*.wav"))) == 3 * 2 * 2


def test_foreign_folder_is_refused_and_kept(tmp_path, tiny_settings):
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(FileExistsError, match=r"minivox\.json"):
        make_minivox(tmp_path, **tiny_settings, num_jobs=1)
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize(
    "setting",
    [
        {"num_trial_speakers": 1},
        {"num_speakers": 2},
        {"num_recordings": 1},
        {"num_utterances": 0},
        {"min_seconds": 2.0},
        {"seed": -1},
        {"num_jobs": 0},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, tiny_settings, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_minivox(tmp_path / "minivox", **{**tiny_settings, **setting})


def test_speakers_do_not_depend_on_how_many_recordings_follow(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    settings = {**tiny_settings, "num_recordings": 3}
    more = make_minivox(tmp_path / "more", **settings, num_jobs=1)
    assert digest(more / "wav").items() >= digest(tiny_minivox / "wav").items()


def test_command_makes_the_same_as_the_function(
    tmp_path, tiny_minivox, tiny_settings, digest
):
    options = [f"--{name}={value}" for name, value in tiny_settings.items()]
    main(["minivox", str(tmp_path / "out"), *options, "--num_jobs=1"])
    assert digest(tmp_path / "out") == digest(tiny_minivox)


@pytest.mark.slow
def test_half_of_the_impostors_are_of_the_same_gender_at_scale(tmp_path):
    folder = make_minivox(tmp_path / "minivox", 40, 10, 6, 2, num_trials=800)
    labels = [trial[0] for trial in read_trials(folder)]
    assert (labels.count("1"), labels.count("0")) == (400, 400)
    rows = {row["speaker"]: row["gender"] for row in read_speakers(folder)}
    same_gender = [
        rows[one.split("/")[0]] == rows[other.split("/")[0]]
        for label, one, other in read_trials(folder)
        if label == "0"
    ]
    assert sum(same_gender) == 200
