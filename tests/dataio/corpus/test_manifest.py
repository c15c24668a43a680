"""Claims about the manifest that a preparation writes, and writes again."""

import csv
import os

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.corpus import corpus as corpus_module
from ssps_plugin.dataio.corpus.manifest import prepare_manifest
from ssps_plugin.dataio.dataset import load_manifest


@pytest.fixture
def corpus(tmp_path, write_noise, truncate):
    """Two speakers, and one file for each way to be broken."""
    write_noise("data/wav/a/r1/1.wav", 1.0)
    write_noise("data/wav/a/r2/1.flac", 2.0, rate=8000, channels=2)
    write_noise("data/wav/b/r1/1.ogg", 1.5)
    truncate(write_noise("data/wav/b/r1/cut.flac", 3.0), 0.5)
    write_noise("data/wav/b/r1/short.wav", 0.25)
    write_noise("data/wav/b/r2/twice.flac", 1.0)
    write_noise("data/wav/b/r2/twice.wav", 1.0)
    write_noise("data/wav/b/r2/$x.wav", 1.0)
    folder = tmp_path / "data"
    soundfile.write(folder / "wav/b/r2/empty.wav", np.zeros(0), 16000)
    (folder / "wav/b/r2/garbage.wav").write_bytes(b"garbage")
    return folder


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_writes_speechbrains_columns_in_sorted_order(corpus, tmp_path):
    prepare_manifest(corpus, tmp_path / "train.csv", min_seconds=0.5)
    rows = _rows(tmp_path / "train.csv")
    assert list(rows[0]) == ["ID", "duration", "wav", "recording", "speaker"]
    assert [row["ID"] for row in rows] == [
        "a/r1/1",
        "a/r2/1",
        "b/r1/1",
        "b/r2/twice",
    ]
    assert rows[1] == {
        "ID": "a/r2/1",
        "duration": "2.0",
        "wav": "$data_root/wav/a/r2/1.flac",
        "recording": "r2",
        "speaker": "a",
    }


def test_speechbrain_reads_the_manifest(corpus, tmp_path):
    prepare_manifest(corpus, tmp_path / "train.csv")
    dataset = DynamicItemDataset.from_csv(
        tmp_path / "train.csv", replacements={"data_root": str(corpus)}
    )
    for row in dataset.data.values():
        assert os.path.isfile(row["wav"])


def test_every_file_left_out_is_named_with_its_reason(corpus, tmp_path):
    manifest = tmp_path / "train.csv"
    summary = prepare_manifest(corpus, manifest, min_seconds=0.5)
    skipped = {r["wav"][6:]: r for r in _rows(summary.skipped_list)}
    assert {name: row["reason"] for name, row in skipped.items()} == {
        "r1/cut.flac": "truncated",
        "r1/short.wav": "too short",
        "r2/$x.wav": "name",
        "r2/empty.wav": "empty",
        "r2/garbage.wav": "unreadable",
        "r2/twice.wav": "duplicate",
    }
    assert "min_seconds" in skipped["r1/short.wav"]["detail"]
    assert summary.num_skipped == dict.fromkeys(
        [row["reason"] for row in skipped.values()], 1
    )


def test_the_summary_counts_what_the_manifest_holds(corpus, tmp_path):
    summary = prepare_manifest(
        corpus, tmp_path / "train.csv", exclude_speakers=["a"], min_seconds=0.5
    )
    assert summary.num_utterances == 2
    assert (summary.num_speakers, summary.num_recordings) == (1, 2)
    assert summary.num_excluded_speakers == 1
    assert summary.hours * 3600 == 2.5


def test_a_manifest_is_the_same_whatever_the_number_of_threads(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(corpus_module, "_CHUNK_SIZE", 1)
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", "")
    prepare_manifest(corpus, tmp_path / "1.csv", num_threads=1)
    prepare_manifest(corpus, tmp_path / "8.csv", num_threads=8)
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "8.csv").read_text()


def test_a_manifest_is_reused_for_the_same_folder_and_settings(
    corpus, tmp_path, count_reads
):
    first = prepare_manifest(corpus, tmp_path / "train.csv")
    count_reads.clear()
    second = prepare_manifest(corpus, tmp_path / "train.csv")
    assert not first.reused
    assert second.reused
    assert second.num_utterances == first.num_utterances
    assert count_reads == []


@pytest.mark.parametrize(
    "change", [{"min_seconds": 1.2}, {"exclude_speakers": ["a"]}]
)
def test_other_settings_make_another_manifest(corpus, tmp_path, change):
    prepare_manifest(corpus, tmp_path / "train.csv")
    changed = prepare_manifest(corpus, tmp_path / "train.csv", **change)
    assert not changed.reused
    assert changed.num_utterances < 5


def test_another_folder_makes_another_manifest(corpus, tmp_path, write_noise):
    prepare_manifest(corpus, tmp_path / "train.csv")
    write_noise("other/c/r/1.wav", 1.0)
    summary = prepare_manifest(tmp_path / "other", tmp_path / "train.csv")
    assert (summary.reused, summary.num_utterances) == (False, 1)


@pytest.mark.parametrize("name", ["c/r1/1.wav", "a/r3/1.wav"])
def test_a_new_speaker_or_recording_makes_another_manifest(
    corpus, tmp_path, write_noise, name
):
    first = prepare_manifest(corpus, tmp_path / "train.csv")
    write_noise(f"data/wav/{name}", 1.0)
    second = prepare_manifest(corpus, tmp_path / "train.csv")
    assert second.num_utterances == first.num_utterances + 1


@pytest.mark.parametrize("layout", ["speakers", "any"])
def test_a_file_added_to_a_recording_makes_another_manifest(
    corpus, tmp_path, write_noise, layout
):
    first = prepare_manifest(corpus, tmp_path / "train.csv", layout=layout)
    write_noise("data/wav/a/r1/2.wav", 1.0)
    second = prepare_manifest(corpus, tmp_path / "train.csv", layout=layout)
    assert second.num_utterances == first.num_utterances + 1


@pytest.mark.parametrize("layout", ["speakers", "any"])
def test_a_file_deleted_from_a_recording_makes_another_manifest(
    corpus, tmp_path, layout
):
    first = prepare_manifest(corpus, tmp_path / "train.csv", layout=layout)
    (corpus / "wav/a/r1/1.wav").unlink()
    second = prepare_manifest(corpus, tmp_path / "train.csv", layout=layout)
    assert second.num_utterances == first.num_utterances - 1


@pytest.mark.parametrize("layout", ["speakers", "any"])
def test_compressed_files_left_out_are_named_with_the_command(
    corpus, tmp_path, layout
):
    for name in ("a/r1/1.m4a", "a/r1/2.m4a", "b/r2/3.aac"):
        (corpus / "wav" / name).touch()
    summary = prepare_manifest(corpus, tmp_path / "train.csv", layout=layout)
    assert summary.num_skipped["compressed"] == 2  # one has its conversion
    rows = {row["wav"]: row for row in _rows(summary.skipped_list)}
    assert rows["wav/b/r2/3.aac"]["reason"] == "compressed"
    command = f"python -m ssps_plugin.dataio.convert {corpus} TARGET"
    assert command in rows["wav/a/r1/2.m4a"]["detail"]


def test_damaged_settings_beside_the_manifest_make_another(corpus, tmp_path):
    prepare_manifest(corpus, tmp_path / "train.csv")
    (tmp_path / "train.csv.json").write_text("{")
    assert not prepare_manifest(corpus, tmp_path / "train.csv").reused


def test_a_manifest_without_settings_is_not_overwritten(corpus, tmp_path):
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="train.csv.*train_manifest"):
        prepare_manifest(corpus, tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_text() == "mine"


def test_an_interrupted_writing_leaves_no_manifest(
    corpus, tmp_path, monkeypatch
):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_manifest(corpus, tmp_path / "train.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_corpus_without_one_usable_file_is_an_error(tmp_path):
    (tmp_path / "a" / "r").mkdir(parents=True)
    (tmp_path / "a" / "r" / "1.wav").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="1 unreadable.*data_folder"):
        prepare_manifest(tmp_path, tmp_path / "train.csv")
    assert not (tmp_path / "train.csv").exists()


def test_any_layout_is_prepared_without_labels(tmp_path, write_noise):
    for path in ("a.wav", "calls/b.flac", "calls/2020/c.ogg", "test/d.wav"):
        write_noise(f"data/{path}", 1.0)
    write_noise("data/.hidden/e.wav", 1.0)
    manifest = tmp_path / "train.csv"
    options = {"layout": "any", "exclude_utterances": ["test/d.flac"]}
    summary = prepare_manifest(tmp_path / "data", manifest, **options)
    assert (summary.num_utterances, summary.num_speakers) == (3, 0)
    rows = _rows(manifest)
    assert list(rows[0]) == ["ID", "duration", "wav"]
    assert [row["ID"] for row in rows] == ["a", "calls/2020/c", "calls/b"]
    assert rows[2]["wav"] == "$data_root/calls/b.flac"


def test_a_new_folder_is_seen_in_any_layout(tmp_path, write_noise):
    write_noise("data/x/y/a.wav", 1.0)
    folder, manifest = tmp_path / "data", tmp_path / "train.csv"
    assert not prepare_manifest(folder, manifest, layout="any").reused
    assert prepare_manifest(folder, manifest, layout="any").reused
    write_noise("data/x/z/b.wav", 1.0)
    summary = prepare_manifest(folder, manifest, layout="any")
    assert (summary.reused, summary.num_utterances) == (False, 2)


def test_a_corpus_whose_audio_is_all_in_the_trials_is_refused(
    tmp_path, write_noise
):
    write_noise("data/a.wav", 1.0)
    options = {"layout": "any", "exclude_utterances": ["a.wav"]}
    with pytest.raises(ValueError, match="all of which are in the trials"):
        prepare_manifest(tmp_path / "data", tmp_path / "train.csv", **options)


def test_an_unknown_layout_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="speakers, any, got 'flat'"):
        prepare_manifest(corpus, tmp_path / "train.csv", layout="flat")


@pytest.mark.parametrize("layout", ["speakers", "any"])
def test_other_formats_are_read_or_named_as_left_out(
    tmp_path, write_noise, layout
):
    folder = tmp_path / "data" / "id1" / "a"
    for name in ("1.wav", "2.mp3", "4.aiff", "5.flac"):
        write_noise(f"data/id1/a/{name}", 1.0)
    tone = np.sin(np.arange(48000) / 10)
    soundfile.write(folder / "3.opus", tone, 48000, "OPUS", format="OGG")
    for name in ("6.aac", "7.wma", "8.amr", "5.m4a"):
        (folder / name).touch()
    (folder / "9.mp3").write_bytes(b"no audio")
    os.mkfifo(folder / "10.wav")
    manifest = tmp_path / "train.csv"
    summary = prepare_manifest(folder.parents[1], manifest, layout=layout)
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [os.path.basename(row["wav"]) for row in rows]
    assert names == ["1.wav", "2.mp3", "3.opus", "4.aiff", "5.flac"]
    assert all(abs(float(row["duration"]) - 1) < 0.05 for row in rows)
    assert summary.num_skipped == {"compressed": 3, "unreadable": 2}
    with open(summary.skipped_list, newline="") as file:
        skipped = {
            os.path.basename(row["wav"]): row["detail"]
            for row in csv.DictReader(file)
        }
    assert set(skipped) == {"6.aac", "7.wma", "8.amr", "9.mp3", "10.wav"}
    assert "must be converted first" in skipped["7.wma"]
    assert "a FIFO (named pipe)" in skipped["10.wav"]


@pytest.mark.parametrize("speaker", ["anna b", " anna", "anna ", 'a,"b"'])
def test_names_with_blanks_come_back_as_they_are(
    tmp_path, write_noise, speaker
):
    name = f"{speaker}/my call/first one.wav"
    path = write_noise(f"data/{name}", 1.0)
    manifest = tmp_path / "train.csv"
    prepare_manifest(tmp_path / "data", manifest)
    data = load_manifest(manifest, tmp_path / "data").data
    assert dict(data) == {
        name.removesuffix(".wav"): {
            "wav": path,
            "duration": 1.0,
            "speaker": speaker,
            "recording": "my call",
        }
    }
