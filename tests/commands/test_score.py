"""Claims about `ssps score`."""

import json

import pytest

from tests.commands.conftest import is_one_message


@pytest.fixture
def scored(ssps, finished, corpus, tmp_path):
    def call(trials, *options):
        path = tmp_path / "scores.txt"
        return path, ssps(
            *("score", finished, trials, "-f", corpus, "-o", path),
            *options,
        )

    return call


def test_scores_and_rates_are_those_of_the_run(scored, finished):
    path, answer = scored(finished / "trials.txt", "--json")
    assert answer.status == 0
    assert path.read_text() == (finished / "scores.txt").read_text()
    found = json.loads(answer.out)
    wanted = json.loads((finished / "results.json").read_text())
    for name in ("eer_percent", "min_dcf_p01", "min_dcf_p05", "num_trials"):
        assert found[name] == wanted[name], name


def test_rates_are_printed(scored, finished):
    _, answer = scored(finished / "trials.txt")
    wanted = json.loads((finished / "results.json").read_text())
    assert f"EER      {wanted['eer_percent']:.2f} %" in answer.out
    assert (
        f"minDCF   {wanted['min_dcf_p01']:.4f} at p_target 0.01" in answer.out
    )


def test_a_list_without_labels_is_scored_and_has_no_rates(
    scored, finished, tmp_path
):
    lines = (finished / "trials.txt").read_text().splitlines()
    bare = tmp_path / "bare.txt"
    bare.write_text("".join(f"{line.partition(' ')[2]}\n" for line in lines))
    path, answer = scored(bare)
    assert answer.status == 0
    assert path.read_text() == (finished / "scores.txt").read_text()
    assert "EER" not in answer.out


def test_names_start_from_the_folder_of_the_list(ssps, finished, corpus):
    trials = corpus / "own.txt"
    trials.write_text(
        "1 wav/id000/rec0/00000.wav wav/id000/rec1/00000.wav\n"
        "0 wav/id000/rec0/00000.wav wav/id001/rec1/00000.wav\n"
    )
    output = corpus / "own_scores.txt"
    answer = ssps("score", "-m", finished, trials, "-o", output)
    assert answer.status == 0, answer.err
    assert len(output.read_text().splitlines()) == 2
    kept = ssps("score", "-m", finished, trials, "-o", output)
    assert kept.status == 1
    assert is_one_message(kept.err)
    trials.unlink()
    output.unlink()


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "a trial list's file, its http"),
        ("1 nowhere.wav nothing.wav\n", "nowhere.wav"),
        ("", "trial"),
    ],
)
def test_a_mistake_is_a_message(text, message, scored, tmp_path):
    trials = tmp_path / "list.txt"
    if text is not None:
        trials.write_text(text)
    path, answer = scored(trials)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert message in answer.err
    assert not path.exists()
