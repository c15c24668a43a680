"""Claims about `ssps export`, `ssps import` and `ssps report`."""

import json
import sys

import pytest

from tests.commands.conftest import is_one_message, utterances


def test_an_export_is_compared_like_its_run(ssps, finished, corpus, tmp_path):
    answer = ssps("export", finished, tmp_path / "model", "--weights", "last")
    assert answer.status == 0, answer.err
    assert str(tmp_path / "model") in answer.out
    files = utterances(corpus, 0, 1)
    of_run = ssps("compare", finished, *files, "--weights=last", "--json")
    of_export = ssps("compare", tmp_path / "model", *files, "--json")
    scores = [json.loads(one.out)["score"] for one in (of_run, of_export)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_an_export_that_is_there_is_kept_unless_asked(ssps, finished, tmp_path):
    target = tmp_path / "model"
    assert ssps("export", finished, target).status == 0
    again = ssps("export", finished, target)
    assert again.status == 1
    assert is_one_message(again.err)
    assert ssps("export", finished, target, "--overwrite").status == 0


def test_nothing_is_pushed_without_being_asked(
    ssps, finished, tmp_path, monkeypatch
):
    pushed = []
    monkeypatch.setattr(
        "ssps_plugin.pretrained.hub.push_to_hub",
        lambda folder, name, private: pushed.append((name, private)) or "there",
    )
    ssps("export", finished, tmp_path / "one")
    assert pushed == []
    answer = ssps(
        *("export", finished, tmp_path / "two"),
        *("--push-to-hub", "me/model", "--private"),
    )
    assert pushed == [("me/model", True)]
    assert "Pushed to there." in answer.out


def test_what_an_extra_lacks_is_said_before_anything_is_written(
    ssps, finished, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it was not there
    answer = ssps("export", finished, tmp_path / "model", "--onnx")
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert "ssps_plugin[onnx]" in answer.err
    assert not (tmp_path / "model").exists()


def test_an_export_is_brought_in(ssps, finished, corpus, tmp_path):
    model, weights = tmp_path / "model", tmp_path / "weights"
    assert ssps("export", finished, model).status == 0
    answer = ssps("import", model / "embedding_model.ckpt", weights)
    assert answer.status == 0, answer.err
    files = utterances(corpus, 0, 1)
    answer = ssps("compare", weights, *files, "--json")
    assert json.loads(answer.out)["threshold"] is None


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_source_that_is_none_is_a_message(command, ssps, tmp_path):
    answer = ssps(command, tmp_path / "nothing", tmp_path / "out")
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert not (tmp_path / "out").exists()


def test_a_report_of_what_is_no_run_is_a_message(ssps, tmp_path):
    pytest.importorskip("plotly")
    answer = ssps("report", tmp_path)
    assert answer.status == 1
    assert is_one_message(answer.err)


def test_a_report_gets_what_is_asked_for(ssps, finished, monkeypatch):
    asked = {}

    def write_report(runs, output, **options):
        asked.update(options, runs=runs, output=output)
        return output

    monkeypatch.setattr("ssps_plugin.report.write_report", write_report)
    answer = ssps(
        *("report", finished, "other", "-o", "x.html", "--no-png"),
        *("--max-utterances", 7, "--num-pairs", 3),
    )
    assert answer.status == 0, answer.err
    assert answer.out == "The report is x.html.\n"
    assert asked["runs"] == [str(finished), "other"]
    assert (asked["png"], asked["progress"]) == (False, False)
    assert (asked["max_utterances"], asked["num_pairs"]) == (7, 3)
