"""History, scores and results are read back as they were written."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from ssps_plugin.evaluation import results as results_module
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.results import (
    History,
    package_commit,
    verification_results,
    write_results,
    write_scores,
)
from ssps_plugin.evaluation.trial_list import TrialList


def random_trials(num_trials=9000, num_utterances=200):
    generator = np.random.default_rng(0)
    enrol, test = generator.integers(0, num_utterances, (2, num_trials))
    labels = generator.integers(0, 2, num_trials).astype(np.uint8)
    names = [f"id{i}/{i}.wav" for i in range(num_utterances)]
    scores = generator.normal(labels, 1).astype(np.float32)
    return TrialList(names, labels, enrol, test), scores


@pytest.fixture
def package_copy(tmp_path, monkeypatch):
    """The module's file, as if the package lay in a folder of its own."""
    file = tmp_path / "package" / "results.py"
    file.parent.mkdir()
    shutil.copy(results_module.__file__, file)
    monkeypatch.setattr(results_module, "__file__", str(file))
    # No repository around the temporary folder may answer.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return file


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def test_a_resume_takes_up_what_was_recorded(tmp_path):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 1, "loss": 2.0})
    history.record({"epoch": 2, "loss": 1.0, "eer": 5.5})
    resumed = History(tmp_path / "history.json")
    assert resumed.rows == history.rows
    resumed.record({"epoch": 3, "loss": 0.5})
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]


def test_an_epoch_done_again_replaces_its_like_and_all_later(tmp_path):
    history = History(tmp_path / "history.json")
    for epoch in (1, 2, 3):
        history.record({"epoch": epoch, "loss": 1.0})
    history.record({"epoch": 2, "loss": 0.5})
    expected = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    assert history.rows == expected
    assert History(history.path).rows == expected


def test_a_process_killed_while_writing_loses_no_epoch(tmp_path, monkeypatch):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 1, "loss": 2.0})

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        history.record({"epoch": 2, "loss": 1.0})
    monkeypatch.undo()
    assert History(history.path).rows == [{"epoch": 1, "loss": 2.0}]


def test_the_metrics_of_an_epoch_are_found(tmp_path):
    history = History(tmp_path / "history.json")
    history.record({"epoch": 4, "loss": 2.0})
    assert history.at(4) == {"epoch": 4, "loss": 2.0}
    assert history.at(1) == {}


def test_scores_are_read_back_to_the_last_bit(tmp_path):
    trials, scores = random_trials()
    write_scores(tmp_path / "scores.txt", torch.from_numpy(scores), trials)
    lines = (tmp_path / "scores.txt").read_text().splitlines()
    rows = [line.split() for line in lines]
    assert [(row[1], row[2]) for row in rows] == list(trials.pairs())
    again = np.array([row[0] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(again, scores)


@pytest.mark.parametrize("num_scores", [0, 1, 3])
def test_scores_of_another_list_are_refused(tmp_path, num_scores):
    trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
    with pytest.raises(ValueError, match=f"of 2 trials, got {num_scores}"):
        write_scores(tmp_path / "scores.txt", [0.5] * num_scores, trials)
    assert list(tmp_path.iterdir()) == []


def test_results_hold_the_error_rates_and_what_made_them(tmp_path):
    trials, scores = random_trials()
    results = verification_results(
        scores,
        trials,
        trial_list=tmp_path / "o.txt",
        config="simclr_ssps.yaml",
        seed=7,
        epochs=120,
        coverage=0.97,
    )
    write_results(tmp_path / "results.json", results)
    read = json.loads((tmp_path / "results.json").read_text())
    assert read == results
    curve = detection_curve(scores, trials.labels)
    eer, eer_threshold = curve.equal_error_rate()
    assert read["eer_percent"] == 100 * eer
    assert read["eer_threshold"] == eer_threshold
    for name, p_target in (("min_dcf_p01", 0.01), ("min_dcf_p05", 0.05)):
        expected = curve.min_dcf(p_target)
        assert (read[name], read[f"{name}_threshold"]) == expected
    assert read["num_trials"] == 9000
    assert read["trial_list"] == str(tmp_path / "o.txt")
    assert (read["config"], read["seed"]) == ("simclr_ssps.yaml", 7)
    assert (read["epochs"], read["coverage"]) == (120, 0.97)


def test_threshold_that_rejects_everything_is_null(tmp_path):
    trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
    results = verification_results([0.1, 0.9], trials, trial_list="o.txt")
    write_results(tmp_path / "results.json", results)
    read = json.loads((tmp_path / "results.json").read_text())
    assert read["min_dcf_p01"] == 1.0
    assert read["min_dcf_p01_threshold"] is None


def test_array_scalars_become_plain_numbers(tmp_path):
    mixed = {"a": np.float32(0.5), "b": torch.tensor(3), "c": np.bool_(True)}
    write_results(tmp_path / "results.json", mixed)
    read = json.loads((tmp_path / "results.json").read_text())
    assert read == {"a": 0.5, "b": 3, "c": True}


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (object(), TypeError)]
)
def test_value_that_json_cannot_say_leaves_the_old_results(
    tmp_path, value, error
):
    path = tmp_path / "results.json"
    write_results(path, {"eer_percent": 2.0})
    with pytest.raises(error):
        write_results(path, {"eer_percent": value})
    assert json.loads(path.read_text()) == {"eer_percent": 2.0}


def test_commit_is_that_of_the_checkout(package_copy):
    folder = package_copy.parent
    git(folder, "init")
    git(folder, "add", "results.py")
    git(folder, "commit", "-m", "first")
    commit = git(folder, "rev-parse", "HEAD")
    assert package_commit() == commit
    package_copy.write_text("changed")
    assert package_commit() == f"{commit}-dirty"


def test_no_commit_outside_a_checkout(package_copy):
    assert package_commit() is None


def test_no_commit_when_installed_within_somebodys_repository(package_copy):
    folder = package_copy.parent
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "theirs")
    assert package_commit() is None


def test_no_commit_without_git(package_copy, monkeypatch):
    monkeypatch.setenv("PATH", str(package_copy.parent))
    assert package_commit() is None
