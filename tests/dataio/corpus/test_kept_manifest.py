"""The manifest of a run that goes on, and what happened to its corpus."""

import csv
import json
import logging
import shutil

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio.corpus.kept_manifest import keep_manifest
from ssps_plugin.dataio.corpus.manifest import prepare_manifest

LAYOUTS = ("speakers", "any")


def write(folder, name, seconds=0.1):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(16000 * seconds)), 16000)
    return path


@pytest.fixture
def corpus(tmp_path):
    """Twelve files of three speakers."""
    for number in range(12):
        write(tmp_path / "corpus", f"s{number % 3}/r{number % 2}/{number}.wav")
    return tmp_path / "corpus"


@pytest.fixture(params=LAYOUTS)
def kept(request, corpus, tmp_path):
    """Prepare the run's manifest; the function that goes on with it."""
    manifest = tmp_path / "run" / "train.csv"
    prepare_manifest(corpus, manifest, layout=request.param)

    def keep(folder=corpus, **options):
        before = files_of(manifest.parent)
        try:
            keep_manifest(folder, manifest, layout=request.param, **options)
        finally:
            after = files_of(manifest.parent)
            changed = before != after
        return changed

    keep.manifest = manifest
    return keep


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_unchanged_corpus_is_not_listed_again(kept, caplog, monkeypatch):
    # Whatever ran before in the process may have set up logging.
    name = "ssps_plugin.dataio.corpus.kept_manifest"
    monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    with caplog.at_level(logging.INFO, logger=name):
        assert not kept()
    assert "is the run's, as it was" in caplog.text


def test_a_lost_file_is_named_and_keeps_its_row(kept, corpus, caplog):
    (corpus / "s0/r0/6.wav").unlink()
    assert not kept()
    assert "1 of the 12 files" in caplog.text
    assert f"not there any more: {corpus}/s0/r0/6.wav. Another" in caplog.text
    assert "s0/r0/6.wav" in kept.manifest.read_text()


def test_an_added_file_is_named_and_left_for_a_new_run(kept, corpus, caplog):
    write(corpus, "s0/r0/new.wav")
    assert not kept()
    assert (
        "1 files of" in caplog.text and ": s0/r0/new.wav. A new" in caplog.text
    )


def test_a_file_that_the_preparation_left_out_is_not_added(
    corpus, tmp_path, caplog
):
    write(corpus, "s0/r0/short, but mine.wav", seconds=0.01)
    manifest = tmp_path / "train.csv"
    prepare_manifest(corpus, manifest, min_seconds=0.05)
    caplog.clear()
    (corpus / "s0/r0/6.wav").unlink()
    keep_manifest(corpus, manifest, 0.05)
    assert "lost" not in caplog.text and "A new run" not in caplog.text


def test_speakers_that_were_left_out_are_not_added(corpus, tmp_path, caplog):
    manifest = tmp_path / "train.csv"
    prepare_manifest(corpus, manifest, exclude_speakers=["s1"])
    (corpus / "s0/r0/6.wav").unlink()
    keep_manifest(corpus, manifest)
    assert "1 of the 8 files" in caplog.text
    assert "A new run" not in caplog.text


def test_a_moved_corpus_is_the_same(kept, corpus, tmp_path, caplog):
    corpus.rename(tmp_path / "moved")
    caplog.clear()
    assert not kept(tmp_path / "moved")
    assert not caplog.text


@pytest.mark.parametrize("change", ["names", "lengths", "more"])
def test_another_corpus_is_refused_and_changes_nothing(
    kept, corpus, tmp_path, change
):
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    if change == "more":
        write(other, "s0/r0/new.wav")
    else:
        for path in other.rglob("*.wav"):
            soundfile.write(path, np.zeros(8000), 16000)
            if change == "names":
                path.rename(path.with_name(f"x{path.name}"))
    before = files_of(kept.manifest.parent)
    with pytest.raises((RuntimeError, FileNotFoundError), match="data_folder"):
        kept(other)
    assert files_of(kept.manifest.parent) == before


def test_more_lost_files_than_max_unreadable_are_refused(kept, corpus, caplog):
    paths = sorted(corpus.rglob("*.wav"))
    paths[0].unlink()
    with pytest.raises(
        RuntimeError, match=r"without 1 of its 12 files .*max_un"
    ):
        kept(max_unreadable=0)
    for path in paths[1:6]:
        path.unlink()
    with pytest.raises(RuntimeError, match="allows 5: change data_folder"):
        kept()
    assert not kept(max_unreadable=0.5)
    assert "6 of the 12 files" in caplog.text


def test_other_settings_have_no_effect_and_are_named(kept, caplog):
    assert not kept(min_seconds=1.0)
    assert "min_seconds 1.0 has no effect on the run's manifest" in caplog.text


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "zeros"])
def test_a_damaged_manifest_is_made_again_if_that_gives_the_same(
    kept, corpus, damage, caplog
):
    path, whole = kept.manifest, kept.manifest.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "flipped": whole.replace(b"0.1", b"0.9", 1),
        "zeros": bytes(len(whole)),
    }[damage]
    path.write_bytes(damaged)
    assert kept()
    assert path.read_bytes() == whole
    aside = path.with_name("train.csv.changed")
    assert aside.read_bytes() == damaged
    assert f"{path} was damaged or edited" in caplog.text
    assert not list(path.parent.glob("*.restored*"))
    path.write_bytes(damaged)
    (corpus / "s0/r0/6.wav").unlink()
    before = files_of(path.parent)
    with pytest.raises(RuntimeError, match=r"train\.csv as it was written"):
        kept()
    assert files_of(path.parent) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"settings": {}}', "null"])
def test_a_damaged_record_is_no_hindrance(kept, corpus, text):
    kept.manifest.with_name("train.csv.json").write_text(text)
    assert not kept()
    if text:
        return
    kept.manifest.write_text("")
    with pytest.raises(ValueError, match=r"train\.csv"):
        kept()


@pytest.mark.parametrize("damage", ["empty", "cut", "edited"])
def test_before_a_run_a_damaged_manifest_is_set_aside_and_made_again(
    corpus, tmp_path, damage, caplog
):
    path = tmp_path / "train.csv"
    prepare_manifest(corpus, path)
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    damaged = {"empty": "", "cut": whole[:-20], "edited": "".join(lines[:-1])}
    path.write_text(damaged[damage])
    assert not prepare_manifest(corpus, path).reused
    assert path.read_text() == whole
    assert (tmp_path / "train.csv.changed").read_text() == damaged[damage]
    assert f"{path} is not as it was written" in caplog.text
    assert prepare_manifest(corpus, path).reused


def test_a_manifest_of_an_older_version_has_no_checksum(corpus, tmp_path):
    path = tmp_path / "train.csv"
    prepare_manifest(corpus, path)
    record = json.loads((tmp_path / "train.csv.json").read_text())
    del record["sha256"]
    (tmp_path / "train.csv.json").write_text(json.dumps(record))
    assert prepare_manifest(corpus, path).reused
    keep_manifest(corpus, path)
    with open(path, newline="") as file:
        assert len(list(csv.DictReader(file))) == 12
