"""Claims about runs that draw, or hold back, by shared neighbours."""

import json

import pytest
import torch

from ssps_plugin.losses import dino
from ssps_plugin.training import Snapshots
from tests.recipes.running import (
    copy_inside_last_epoch,
    history,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS

OPTIONS = {"num_epochs": 4, "num_checkpoints": 9, "ckpt_interval_steps": 3}


def losses(output):
    return [row["loss"] for row in history(output)]


@pytest.mark.parametrize("framework", ["simclr", *FRAMEWORKS])
def test_every_framework_trains_with_the_overlay_for_small_corpora(
    framework, corpus, tmp_path, monkeypatch
):
    # So few steps teach DINO's teacher nothing, by which it would wait.
    monkeypatch.setattr(dino, "_LEAST_GROWTH", 0.0)
    options = {**FRAMEWORKS.get(framework, {}), **OPTIONS}
    if framework == "moco":
        options["mask_false_negatives"] = False
    log = run(
        f"{framework}_ssps.yaml",
        tmp_path / "whole",
        data_folder=corpus,
        overlay="hparams/small_corpus.yaml",
        **options,
    )
    rows = history(tmp_path / "whole")
    # The two epochs before the third fill the memories.
    assert [row["coverage"] > 0 for row in rows] == [False] * 2 + [True] * 2
    assert rows[-1]["with_candidates"] > 0 and 0 < rows[-1]["overlap"] <= 1
    assert "of the anchors got a pseudo-positive" in log
    assert all(torch.tensor(losses(tmp_path / "whole")).isfinite())


def test_a_resume_inside_the_epoch_draws_the_same(corpus, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    options = {"data_folder": corpus, "overlay": "hparams/small_corpus.yaml"}
    run("simclr_ssps.yaml", whole, **options, **OPTIONS)
    copy_inside_last_epoch(whole, again)
    run("simclr_ssps.yaml", again, **options, **OPTIONS, num_workers=2)
    assert history(again) == history(whole)
    assert json.loads((again / "results.json").read_text())["coverage"] > 0


def test_auto_that_begins_later_is_compared_with_the_epoch_before(
    corpus, tmp_path
):
    options = {"data_folder": corpus, "num_epochs": 5, "verify_interval": 5}
    options |= {"overlay": "hparams/small_corpus.yaml", "averaged_epochs": 1}
    options |= {"ssps_start_epoch": 2, "ssps_latest_start_epoch": 4}
    log = run("simclr_ssps.yaml", tmp_path, **options)
    rows = history(tmp_path)
    # Lists of two epochs are there from the third on.
    assert [row["coverage"] > 0 for row in rows[:3]] == [False, False, True]
    assert ["eer" in row for row in rows] == [True] * 2 + [False] * 2 + [True]
    assert "with SSPS from epoch 2 on, or up to 4" in log
    options["coverage"], options["num_epochs"] = 1.0, 2
    whole = run("simclr_ssps.yaml", tmp_path / "all", **options)
    assert "with SSPS from epoch 2 on." in whole  # the latest is auto's
    assert "SSPS was switched on after epoch 2: EER" in log
    assert 2 in Snapshots(tmp_path / "snapshots").epochs()


@pytest.mark.parametrize("way", ["queue", "read"])
def test_auto_holds_published_draws_back(way, corpus, tmp_path):
    options = {"data_folder": corpus, "pseudo_positives": way, **OPTIONS}
    log = run("simclr_ssps.yaml", tmp_path, coverage="auto", **options)
    rows = history(tmp_path)
    assert ["kept_neighbors" in row for row in rows] == [False] * 2 + [True] * 2
    assert rows[1]["coverage"] == 0 and 0 < rows[2]["coverage"] <= 1
    assert "utterances share much by chance" in log
    assert "epoch 3: " in log and "of the anchors got a pseudo-positive" in log


def test_it_is_the_plain_run_until_ssps_starts(corpus, tmp_path):
    options = {"data_folder": corpus, **OPTIONS}
    options["overlay"] = "hparams/small_corpus.yaml"  # goes with the twin, too
    run("simclr.yaml", tmp_path / "plain", **options)
    run("simclr_ssps.yaml", tmp_path / "ssps", **options)
    plain, ssps = losses(tmp_path / "plain"), losses(tmp_path / "ssps")
    assert ssps[:2] == plain[:2]
    assert ssps[2] != plain[2]
