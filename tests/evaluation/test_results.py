"""History, scores and results are read back as they were written."""

import json
import logging
import os
import pathlib
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssps_plugin.evaluation import results as results_module
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.results import (
    History,
    package_commit,
    results_folder,
    summarize_training,
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


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value"),
        (b'[{"epoch": 1, "lo', "Unterminated string"),
        (b"[" * 100_000, "recursion"),
        (b"\xff\xfe[", "codec can't decode"),
        (b'{"epoch": 1}', "a dict"),
        (b"null", "a NoneType"),
        (b'[{"epoch": 1}, 2]', "'2' as row 2"),
        (b'[{"loss": 2.0}]', "as row 1"),
        (b'[{"epoch": "1"}]', "as row 1"),
        (b'[{"epoch": true}]', "as row 1"),
        (b'[{"epoch": -1}]', "as row 1"),
        (b'[{"epoch": 1, "loss": 1' + b"0" * 400 + b"}]", "as row 1"),
        (b'[{"epoch": 1, "eer": "low"}]', "as row 1"),
        (b'[{"epoch": 1, "loss": [2.0]}]', "as row 1"),
    ],
)
def test_a_damaged_history_is_named_with_the_way_out(
    tmp_path, content, problem
):
    path = tmp_path / "history.json"
    path.write_bytes(content)
    message = rf"in {path}, got .*{problem}.*damaged.* Move it away"
    with pytest.raises(ValueError, match=message):
        History(path)
    assert path.read_bytes() == content


def test_no_file_in_the_place_of_a_history_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "history.json")
    with pytest.raises(ValueError, match="got a pipe"):
        History(tmp_path / "history.json")
    with pytest.raises(ValueError, match="got a folder"):
        History(tmp_path)


def test_a_value_that_is_no_number_yet_not_drawn_is_kept(tmp_path):
    path = tmp_path / "history.json"
    path.write_text('[{"epoch": 1, "loss": NaN, "eer": null, "note": "ok"}]')
    assert History(path).rows[0]["note"] == "ok"


@pytest.mark.parametrize(
    ("epochs", "last", "counts"),
    [
        (
            [],
            3,
            "3 of the 3 epochs that this run has done (the first missing: 1",
        ),
        (
            [1, 3],
            3,
            "1 of the 3 epochs that this run has done (the first",
        ),
        (
            [1, 2],
            4,
            "2 of the 4 epochs that this run has done (the first",
        ),
        (
            [9],
            4,
            "4 of the 4 epochs that this run has done (the first missing: 1",
        ),
    ],
)
def test_a_resume_without_its_epochs_is_told_once(
    tmp_path, caplog, epochs, last, counts
):
    history = History(tmp_path / "history.json")
    for epoch in epochs:
        history.record({"epoch": epoch})
    history.warn_missing_epochs(last)
    (record,) = caplog.records
    assert f"{history.path} has no metrics of {counts}" in record.getMessage()


@pytest.mark.parametrize(
    ("epochs", "last"), [([], 0), ([1, 2], 2), ([1, 2, 3], 2), ([10, 11], 11)]
)
def test_a_history_that_is_whole_or_starts_warm_is_no_warning(
    tmp_path, caplog, epochs, last
):
    history = History(tmp_path / "history.json")
    for epoch in epochs:
        history.record({"epoch": epoch})
    history.warn_missing_epochs(last)
    assert not caplog.records


def test_scores_of_names_with_blanks_are_separated_by_tabs(tmp_path):
    trials = TrialList.from_names(None, ["a", "a"], ["b", "my c"])
    write_scores(tmp_path / "scores.txt", [0.5, -0.25], trials)
    text = (tmp_path / "scores.txt").read_text()
    assert text == "0.5 a b\n-0.25\ta\tmy c\n"


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


@pytest.mark.parametrize(
    ("labels", "counts"),
    [(None, (None, None)), ([1, 1], (2, 0)), ([0, 0], (0, 2))],
)
def test_without_both_labels_error_rates_are_null_and_trials_counted(
    tmp_path, labels, counts
):
    trials = TrialList.from_names(labels, ["a", "a"], ["b", "c"])
    results = verification_results(
        [0.9, 0.1],
        trials,
        trial_list="o.txt",
        num_resamples=10,
        false_acceptance_rate=0.1,
    )
    write_results(tmp_path / "results.json", results)
    read = json.loads((tmp_path / "results.json").read_text())
    assert read["num_trials"] == 2
    found = read["num_target_trials"], read["num_impostor_trials"]
    assert found == counts
    names = {"eer_percent", "min_dcf_p01", "min_dcf_p05"}
    names |= {f"{name}_interval" for name in names} | {
        *("eer_threshold", "min_dcf_p01_threshold", "min_dcf_p05_threshold"),
        "threshold",
    }
    assert {name: read[name] for name in names} == dict.fromkeys(names)


@pytest.mark.parametrize("scores", [[0.5], [0.5, float("nan")], [[0.5, 0.1]]])
def test_without_labels_scores_must_be_finite_and_one_a_trial(scores):
    trials = TrialList.from_names(None, ["a", "a"], ["b", "c"])
    with pytest.raises(ValueError, match="finite score for each of 2 trials"):
        verification_results(scores, trials, trial_list="o.txt")


def list_at(path, digest="0" * 64):
    return SimpleNamespace(path=pathlib.Path(path), sha256=digest)


@pytest.mark.parametrize("other", ["b/list.txt", "a/list.tsv", "a/List.txt"])
def test_another_list_of_a_name_gets_another_folder(tmp_path, caplog, other):
    caplog.set_level("INFO")
    first = results_folder(tmp_path, list_at("a/list.txt", "1" * 64))
    assert first == tmp_path / "verify" / "list"
    write_results(first / "results.json", {"trial_list_sha256": "1" * 64})
    second = list_at(other, "2" * 64)
    for _ in range(2):
        folder = results_folder(tmp_path, second)
        assert folder.name == f"{second.path.stem}-22222222"
        write_results(folder / "results.json", {"trial_list_sha256": "2" * 64})
    assert f"Results of the trial list {other} go to {folder}" in caplog.text
    assert results_folder(tmp_path, list_at("c/list", "1" * 64)) == first


def test_a_list_named_as_anothers_own_folder_overwrites_nothing(tmp_path):
    taken = {"list": "1" * 64, "list-22222222": "3" * 64}
    for name, digest in taken.items():
        path = tmp_path / "verify" / name / "results.json"
        write_results(path, {"trial_list_sha256": digest})
    folder = results_folder(tmp_path, list_at("b/list.txt", "2" * 64))
    assert folder.name == f"list-{'2' * 64}"


@pytest.mark.parametrize("name", ["..txt", "a/...", ".txt"])
def test_no_name_of_a_list_leaves_the_folder_of_results(tmp_path, name):
    folder = results_folder(tmp_path, list_at(name))
    assert folder.parent == tmp_path / "verify"
    assert folder.name in ("trials", ".txt")


def test_results_of_an_earlier_version_are_known_by_the_lists_path(tmp_path):
    folder = tmp_path / "verify" / "list"
    write_results(folder / "results.json", {"trial_list": "a/list.txt"})
    assert results_folder(tmp_path, list_at("a/list.txt")) == folder
    assert results_folder(tmp_path, list_at("b/list.txt")) != folder


@pytest.mark.parametrize("content", ["", "[]", '{"trial_list', "[" * 100_000])
def test_damaged_results_are_made_again(tmp_path, content):
    folder = tmp_path / "verify" / "list"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(content)
    assert results_folder(tmp_path, list_at("a/list.txt")) == folder


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


@pytest.mark.parametrize(
    ("coverages", "confident", "is_warned"),
    [
        ([0.0, 0.0, 0.0], None, True),
        ([0.0, 0.0, 0.1], None, False),
        ([0.0, 0.0, 0.0], 0.0, False),
    ],
)
def test_ssps_that_substituted_nothing_is_warned_of(
    tmp_path, caplog, coverages, confident, is_warned
):
    history = History(tmp_path / "history.json")
    for epoch, coverage in enumerate(coverages, 1):
        row = {"epoch": epoch, "loss": 1.0, "coverage": coverage}
        if confident is not None:
            row["confident"] = confident
        history.rows.append(row)
    summarize_training(tmp_path, history, start_epoch=2)
    assert ("on in 2 epochs and substituted nothing" in caplog.text) == (
        is_warned
    )


def test_ssps_that_did_not_begin_is_no_fault(tmp_path, caplog):
    history = History(tmp_path / "history.json")
    for epoch in (1, 2, 3):
        row = {"epoch": epoch, "loss": 1.0, "coverage": 0.0}
        history.rows.append({**row, "sure_draws": 0.2, "eer": 9.0})
    result = SimpleNamespace(eer=0.09)
    with caplog.at_level(logging.INFO):
        summarize_training(tmp_path, history, 2, result)
    assert (
        "SSPS did not begin (coverage auto; 20 % of the draws were sure"
        in caplog.text
    )
    assert "switched on" not in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_the_epoch_before_is_that_before_the_first_draw(tmp_path, caplog):
    history = History(tmp_path / "history.json")
    for epoch, coverage in enumerate([0.0, 0.0, 0.5], 1):
        row = {"epoch": epoch, "loss": 1.0, "coverage": coverage}
        history.rows.append({**row, "eer": 10.0 - epoch})
    result = SimpleNamespace(eer=0.06)
    with caplog.at_level(logging.INFO):
        summarize_training(tmp_path, history, 2, result)
    assert "switched on after epoch 2: EER 8.00 % then, 6.00 %" in caplog.text
