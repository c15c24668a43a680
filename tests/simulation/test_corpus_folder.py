"""Corpus folders: whole or not at all, and never over other files."""

import pytest

from ssps_plugin.simulation.corpus_folder import (
    corpus_in_progress,
    has_corpus,
)

NAME = "corpus.json"
DESCRIPTION = {"seed": 1, "num_files": 1}


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
