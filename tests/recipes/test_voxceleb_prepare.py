"""Trials: which lists a run has, and how often they are read."""

import pathlib

import pytest

from ssps_plugin.evaluation import verification
from tests.recipes.corpora import write_corpus
from tests.recipes.running import recipe

HELD_OUT = {"num_speakers": 2, "num_trials": 8, "seed": 0}
LIST = (
    "1 id000/rec0/00000.wav id000/rec1/00000.wav\n"
    "0 id000/rec0/00000.wav id001/rec0/00000.wav\n"
)


@pytest.fixture
def trials_of(tmp_path):
    """Make `Trials` of a corpus in the folder of the test."""
    write_corpus(tmp_path / "corpus", num_recordings=2, num_utterances=1)
    hparams = {
        **{"trials": None, "trials_folder": None, "sample_rate": 16000},
        "data_folder": str(tmp_path / "corpus"),
        "output_folder": str(tmp_path / "out"),
        "made_trials": str(tmp_path / "out" / "made.txt"),
    }

    def make(**options):
        trials = recipe("voxceleb_prepare").Trials
        return trials.from_hparams({**hparams, **options})

    return make


def test_a_list_is_made_once_and_found_by_other_processes(trials_of):
    main, other = trials_of(), trials_of()
    main.download()
    main.make_from_held_out_speakers(**HELD_OUT)
    made = main.made.read_text()
    assert main.paths == other.paths == [main.made]
    trials_of().make_from_held_out_speakers(**{**HELD_OUT, "seed": 1})
    assert main.made.read_text() == made


def test_a_list_that_is_given_comes_before_one_that_is_found_or_made(
    trials_of, tmp_path
):
    given, found = tmp_path / "given.txt", tmp_path / "corpus" / "trials.txt"
    trials_of().make_from_held_out_speakers(**HELD_OUT)
    found.write_text(LIST)
    given.write_text(LIST)
    assert trials_of().paths == [found]
    assert trials_of(trials=str(given)).paths == [given]
    assert trials_of(trials=[str(found), str(given)]).paths == [found, given]


def test_lists_are_read_once(trials_of, tmp_path, monkeypatch):
    read, read_trials = [], verification.read_trials

    def noting(path):
        read.append(pathlib.Path(path))
        return read_trials(path)

    monkeypatch.setattr(verification, "read_trials", noting)
    path = tmp_path / "trials.txt"
    path.write_text(LIST)
    trials = trials_of(trials=str(path))
    trials.read()
    assert trials.speakers() == {"id000", "id001"}
    assert trials.utterances() == {
        "wav/id000/rec0/00000.wav",
        "wav/id000/rec1/00000.wav",
        "wav/id001/rec0/00000.wav",
    }
    assert [one.path for one in trials.verifications] == read == [path]


def test_no_list_is_warned_of_and_verifies_nothing(trials_of, caplog):
    trials = trials_of()
    trials.read()
    assert trials.verifications == []
    assert trials.speakers() == trials.utterances() == set()
    assert "No trials, so no error rates" in caplog.text
