"""Claims about `ssps compare`, and which model a command takes."""

import json
import os
import shutil

import pytest

from ssps_plugin.pretrained.export import export_run
from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder
from tests.commands.conftest import is_one_message, utterances


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    return export_run(finished, tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text())


def test_the_score_threshold_and_answer_are_printed(ssps, finished, corpus):
    one, other = utterances(corpus, 0, 1)
    answer = ssps("compare", finished, one, other)
    assert answer.status == 0
    assert answer.err == ""
    wanted = SpeakerEncoder.from_run(finished).compare(one, other)
    verdict = "yes" if wanted.same_speaker else "no"
    assert answer.out.splitlines() == [
        f"score         {wanted.score:.4f}",
        f"threshold     {wanted.threshold:.4f}",
        f"chosen so     {wanted.threshold_source}",
        f"same speaker  {verdict}",
    ]


def test_json_has_the_runs_threshold_and_where_it_is_from(
    ssps, finished, corpus, results
):
    one, other = utterances(corpus, 0, 1)
    answer = ssps("compare", finished, one, other, "--json", "--threshold=eer")
    found = json.loads(answer.out)
    assert found["threshold"] == results["eer_threshold"]
    assert "trials.txt" in found["threshold_source"]
    assert found["same_speaker"] == (found["score"] >= found["threshold"])
    assert found["files"] == [one, other]


@pytest.mark.parametrize("threshold, same", [("-1", True), ("1.5", False)])
def test_both_answers_end_with_zero(threshold, same, ssps, finished, corpus):
    files = utterances(corpus, 0, 1)
    answer = ssps(
        *("compare", "-m", finished, *files),
        *("--json", f"--threshold={threshold}"),
    )
    assert answer.status == 0
    assert json.loads(answer.out)["same_speaker"] is same


def test_a_model_without_trials_gives_a_score_and_no_answer(
    ssps, finished, corpus, tmp_path
):
    copied = shutil.copytree(finished, tmp_path / "copied")
    (copied / "results.json").unlink()
    for path in copied.glob("verify/*/results.json"):
        path.unlink()
    files = utterances(corpus, 0, 1)
    answer = ssps("compare", copied, *files)
    assert answer.status == 0
    assert "threshold     none" in answer.out
    assert "there is no threshold, since" in answer.out
    assert "same speaker  unknown" in answer.out
    asked = ssps("compare", copied, *files, "--threshold", "eer")
    assert asked.status == 1
    assert is_one_message(asked.err)
    assert "Verify the run with a trial list" in asked.err


def test_run_export_yaml_and_variable_give_one_score(
    ssps, finished, exported, corpus, monkeypatch
):
    files = utterances(corpus, 0, 1)
    models = (finished, finished / "hyperparams.yaml", exported)
    scores = {
        round(json.loads(answer.out)["score"], 6)
        for model in models
        for answer in (
            ssps("compare", "--json", model, *files),
            ssps("compare", "--json", *files, "--model", model),
        )
    }
    monkeypatch.setenv("SSPS_MODEL", os.fspath(exported))
    answer = ssps("compare", "--json", *files)
    scores.add(round(json.loads(answer.out)["score"], 6))
    assert len(scores) == 1


def test_without_a_model_the_newest_run_here_is_taken_and_named(
    ssps, finished, corpus, monkeypatch, tmp_path
):
    files = utterances(corpus, 0, 1)
    monkeypatch.chdir(finished.parents[2])
    answer = ssps("compare", *files)
    assert answer.status == 0
    assert "results/simclr_ssps/1, the newest run" in answer.err
    monkeypatch.chdir(tmp_path)
    answer = ssps("compare", *files)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert "give --model" in answer.err


def test_weights_are_of_a_run_only(ssps, exported, corpus):
    files = utterances(corpus, 0, 1)
    answer = ssps("compare", exported, *files, "--weights", "best")
    assert answer.status == 1
    assert "is an export" in answer.err


def test_a_wrong_model_is_not_taken_for_a_recording(ssps, corpus, tmp_path):
    files = utterances(corpus, 0, 1)
    answer = ssps("compare", tmp_path / "nowhere", *files)
    assert answer.status == 1
    assert "nowhere, which is not there" in answer.err
