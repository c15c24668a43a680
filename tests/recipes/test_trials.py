"""Claims about the recipes' `trials`: names, addresses, files."""

import csv
import json

import pytest

from tests.evaluation.list_server import serving_official_lists
from tests.recipes.corpora import write_corpus
from tests.recipes.running import history, recipe, run

LIST = (
    "1 id000/rec0/00000.wav id000/rec1/00000.wav\n"
    "0 id000/rec0/00000.wav id001/rec0/00000.wav\n"
)


@pytest.fixture
def server(monkeypatch):
    with serving_official_lists(monkeypatch) as server:
        yield server


def test_trials_by_name_are_fetched_kept_out_of_training_and_scored(
    server, tmp_path
):
    server.lists |= {"veri_test.txt": LIST, "own.txt": LIST}
    corpus = write_corpus(tmp_path / "corpus")
    output = tmp_path / "out"
    log = run(
        "simclr.yaml",
        output,
        data_folder=corpus,
        trials="VoxCeleb1-O",
        num_epochs=1,
    )
    assert f"Downloading the trial list {server.address}veri_test.txt" in log
    assert "eer" in history(output)[0]
    with open(output / "train.csv", newline="") as file:
        trained = {row["speaker"] for row in csv.DictReader(file)}
    assert trained == {f"id{number:03d}" for number in range(2, 8)}

    trials = json.dumps(["voxceleb1-o", f"{server.address}own.txt"])
    saved = str(output / "hyperparams.yaml")
    recipe("verify").main([saved, "--trials", trials])
    assert server.asked == ["veri_test.txt", "own.txt"]
    for name in ("veri_test", "own"):
        results = json.loads(
            (output / "verify" / name / "results.json").read_text()
        )
        assert results["num_trials"] == 2


def test_trials_by_a_name_that_is_misspelt_end_the_run_before_any_work(
    tmp_path,
):
    corpus = write_corpus(tmp_path / "corpus")
    with pytest.raises(FileNotFoundError, match="did you mean voxceleb1-o"):
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            trials="voxceleb1o",
        )
    assert not (tmp_path / "out" / "train.csv").exists()


def test_a_folder_of_trials_that_is_none_ends_the_run(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    options = {"data_folder": corpus, "trials_folder": tmp_path / "nowhere"}
    with pytest.raises(FileNotFoundError, match="nowhere, which is no folder"):
        run("simclr.yaml", tmp_path / "out", **options)
    assert not (tmp_path / "out" / "train.csv").exists()
