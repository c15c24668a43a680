"""Claims about runs whose draws several clusterings agree on, or that widen."""

import json
import pathlib
import re

import pytest
import torch

from ssps_plugin.losses import dino
from ssps_plugin.sampling import coverage
from tests.recipes.corpora import write_corpus
from tests.recipes.running import (
    ROOT,
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS
from tests.recipes.test_reading import READ, losses

OVERLAY = re.search(
    r"```yaml\n(.*?)```", (ROOT / "docs" / "beyond.md").read_text(), re.S
)[1]


def overlay_of(folder: pathlib.Path) -> pathlib.Path:
    """The overlay of the documentation, over that for small corpora."""
    small = (ROOT / "hparams" / "minivox.yaml").read_text()
    # Each key once, as YAML wants it.
    own = re.findall(r"^\w+", OVERLAY, re.M)
    rest = [
        line for line in small.splitlines() if line.split(":")[0] not in own
    ]
    path = folder / "overlay.yaml"
    path.write_text("\n".join([*rest, OVERLAY]))
    return path


@pytest.mark.parametrize("way", ["queue", "read"])
def test_the_documented_overlay_trains_and_resumes_inside_an_epoch(
    way, corpus, tmp_path
):
    options = {**READ, "pseudo_positives": way, "num_clusters": "[6, 3]"}
    options |= {"num_epochs": 3, "coverage": "[0.5, 1.0]"}
    options |= {"overlay": overlay_of(tmp_path), "data_folder": corpus}
    whole, again = tmp_path / "whole", tmp_path / "again"
    run("simclr_ssps.yaml", whole, **options)
    rows = history(whole)
    assert [row.get("num_clusters") for row in rows] == [None, 6, 3]
    assert [row.get("confident") for row in rows] == [None, 0.5, 1.0]
    assert rows[1]["coverage"] < 0.7 < rows[2]["coverage"]
    assert all(0 < row["votes"] <= 1 for row in rows[1:])
    copy_inside_last_epoch(whole, again)
    run("simclr_ssps.yaml", again, **options)
    assert history(again) == rows
    assert json.loads((again / "results.json").read_text())["coverage"] > 0


@pytest.mark.parametrize(
    ("name", "way", "more"),
    [
        ("simclr", "queue", {}),
        ("simclr", "read", {}),
        ("simclr", "queue", {"mask_false_negatives": True}),
        ("moco", "queue", {}),
        ("swav", "read", {}),
        ("vicreg", "queue", {}),
        ("dino", "queue", {}),
        ("sdpn", "read", {}),
    ],
)
def test_a_run_of_coverage_0_is_the_plain_run_bit_for_bit(
    name, way, more, corpus, tmp_path
):
    options = {"data_folder": corpus, "num_epochs": 3, **more}
    options |= FRAMEWORKS.get(name, {})
    check_coverage_0(name, way, options, tmp_path)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_so_is_one_with_augmentation_whatever_the_corpus_rate(rate, tmp_path):
    options = {"data_folder": write_corpus(tmp_path / "c", rate=rate)}
    options |= {"num_epochs": 3, "num_clusters": 3}
    options |= {"noise_folder": "synthetic", "rir_folder": "simulated"}
    check_coverage_0("simclr", "read", options, tmp_path)


@pytest.mark.parametrize(
    ("name", "way"), [("simclr", "read"), ("vicreg", "queue")]
)
def test_a_run_of_auto_that_does_not_begin_is_the_plain_run_bit_for_bit(
    name, way, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(coverage, "LEAST_SURE", 2.0)
    options = {"data_folder": corpus, "num_epochs": 4}
    log = check_the_plain_run(name, way, options, tmp_path, coverage="auto")
    assert "SSPS does not begin, up to epoch 3, and the run goes on" in log
    assert "SSPS did not begin (coverage auto; " in log
    rows = history(tmp_path / "ssps")
    assert [row["coverage"] for row in rows[2:]] == [0, 0]
    assert rows[3]["sure_draws"] > 0


def test_dino_does_not_begin_while_its_teacher_tells_no_more_than_at_first(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(dino, "_LEAST_GROWTH", 100.0)
    monkeypatch.setattr(coverage, "LEAST_SURE", 0.01)
    options = {"data_folder": corpus, "num_epochs": 4, **FRAMEWORKS["dino"]}
    log = check_the_plain_run("dino", "read", options, tmp_path, "auto")
    assert re.search(
        r"SSPS does not begin, up to epoch 3.* the teacher tells \d.\d+ nats "
        r"of an utterance .teacher_information., and told \d.\d+ in the first",
        log,
    )


def check_coverage_0(name, way, options, tmp_path):
    log = check_the_plain_run(name, way, options, tmp_path, coverage=0.0)
    assert "without SSPS, since coverage is 0" in log


def check_the_plain_run(name, way, options, tmp_path, coverage):
    run(f"{name}.yaml", tmp_path / "plain", **options)
    log = run(
        f"{name}_ssps.yaml",
        tmp_path / "ssps",
        **{**READ, **options, "pseudo_positives": way, "coverage": coverage},
    )
    assert "SSPS was switched on" not in log
    plain, ssps = tmp_path / "plain", tmp_path / "ssps"
    assert losses(plain) == losses(ssps)
    assert history(ssps)[-1]["coverage"] == 0
    states = [
        torch.load(newest_checkpoint(output) / "framework.ckpt")
        for output in (plain, ssps)
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    return log
