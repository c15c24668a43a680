"""Trials: which lists a run has, and how often they are read."""

import pathlib

import pytest

from ssps_plugin.evaluation import default_trials, verification
from tests.evaluation.list_server import serving_official_lists
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
        "train_manifest": str(tmp_path / "out" / "train.csv"),
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


@pytest.fixture
def all_of_voxceleb1(tmp_path, monkeypatch):
    """A VoxCeleb1 of three speakers; the first is its test part."""
    everybody = frozenset({"id000", "id001", "id002"})
    monkeypatch.setattr(default_trials, "VOXCELEB1_SPEAKERS", everybody)
    monkeypatch.setattr(
        default_trials, "VOXCELEB1_TEST_SPEAKERS", frozenset({"id000"})
    )
    folder = write_corpus(tmp_path / "vox1", 3, 2, num_utterances=1)
    training = tmp_path / "vox2" / "id900" / "rec0"
    training.mkdir(parents=True)
    (training / "00000.wav").touch()
    options = {
        "data_folder": str(tmp_path / "vox2"),
        "trials_folder": str(folder),
        "train_manifest": str(tmp_path / "out" / "train.csv"),
    }
    return folder, options


HARD = "1 id001/rec0/00000.wav id001/rec1/00000.wav\n" + LIST


def test_by_default_all_lists_of_voxceleb1_are_fetched_and_read(
    trials_of, all_of_voxceleb1, monkeypatch, caplog
):
    _, options = all_of_voxceleb1
    with serving_official_lists(monkeypatch) as server:
        server.lists |= {"veri_test.txt": LIST, "list_test_all.txt": HARD}
        server.lists["list_test_hard.txt"] = HARD
        main, other = trials_of(**options), trials_of(**options)
        main.download()
    names = ["veri_test.txt", "list_test_all.txt", "list_test_hard.txt"]
    assert server.asked == names
    with caplog.at_level("INFO"):
        for trials in (main, other):
            trials.read()
            found = [one.path.name for one in trials.verifications]
            assert found == names
    assert "VoxCeleb1-E and -H are scored at the end" in caplog.text


def test_a_further_list_that_cannot_be_fetched_or_misses_audio_is_left_out(
    trials_of, all_of_voxceleb1, monkeypatch, caplog
):
    folder, options = all_of_voxceleb1
    (folder / "veri_test.txt").write_text(LIST)
    gone = HARD.replace("id001/rec1", "id001/rec7")
    (folder / "list_test_hard.txt").write_text(gone)
    with serving_official_lists(monkeypatch):  # has no list
        trials = trials_of(**options)
        trials.download()
    assert "voxceleb1-e is not scored. Expected to download" in caplog.text
    trials.read()
    assert [one.path.name for one in trials.verifications] == ["veri_test.txt"]
    assert "list_test_hard.txt is not scored. Expected an audio" in caplog.text
    assert trials.speakers() == {"id000", "id001"}


def test_the_first_list_must_be_there_and_so_must_those_that_are_given(
    trials_of, all_of_voxceleb1, monkeypatch
):
    folder, options = all_of_voxceleb1
    with serving_official_lists(monkeypatch):
        with pytest.raises(RuntimeError, match="Expected to download"):
            trials_of(**options).download()
        (folder / "veri_test.txt").write_text(LIST)
        given = {"trials": ["voxceleb1-o", "voxceleb1-e"]}
        with pytest.raises(RuntimeError, match="Expected to download"):
            trials_of(**options, **given).download()
    (folder / "list_test_all.txt").write_text(LIST.replace("rec1", "rec7"))
    with pytest.raises(FileNotFoundError, match="Expected an audio file"):
        trials_of(**options, **given).read()
