"""Claims about runs whose pseudo-positives are read from partners' files."""

import json
from types import SimpleNamespace

import pytest
import torch

from ssps_plugin import ClusteringSampling, PositiveSampler
from tests.recipes.running import (
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    recipe,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS

READ = {
    "pseudo_positives": "read",
    "ssps_start_epoch": 2,
    "num_epochs": 2,
    "num_checkpoints": 9,
    "ckpt_interval_steps": 3,
}


def losses(output):
    return [row["loss"] for row in history(output)]


@pytest.fixture(scope="module")
def read_run(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("read") / "simclr"
    run("simclr_ssps.yaml", output, data_folder=corpus, **READ)
    return output


def test_it_is_the_published_run_until_ssps_starts(read_run, corpus, tmp_path):
    run(
        "simclr_ssps.yaml",
        tmp_path,
        data_folder=corpus,
        **{**READ, "pseudo_positives": "queue"},
    )
    assert losses(tmp_path)[0] == losses(read_run)[0]
    assert losses(tmp_path)[1] != losses(read_run)[1]
    assert history(read_run)[1]["coverage"] > 0
    assert "queue_fill" not in history(read_run)[1]


def test_a_resume_inside_the_epoch_and_workers_read_the_same(
    read_run, corpus, tmp_path
):
    again = tmp_path / "again"
    copy_inside_last_epoch(read_run, again)
    run("simclr_ssps.yaml", again, data_folder=corpus, **READ, num_workers=2)
    assert history(again) == history(read_run)
    states = [
        torch.load(newest_checkpoint(output) / "sampler.ckpt")
        for output in (again, read_run)
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize(
    ("framework", "partner_crops"),
    [
        ("moco", None),
        ("vicreg", None),
        ("swav", None),
        ("dino", "{global_views: 1}"),
        ("dino", "{global_views: 1, local_views: 1}"),
        ("sdpn", None),
    ],
)
def test_every_framework_trains_on_views_of_partners(
    framework, partner_crops, corpus, tmp_path
):
    run(
        f"{framework}_ssps.yaml",
        tmp_path,
        data_folder=corpus,
        **FRAMEWORKS[framework],
        **READ,
        partner_crops=partner_crops,
    )
    assert json.loads((tmp_path / "results.json").read_text())["coverage"] > 0
    assert all(torch.tensor(losses(tmp_path)).isfinite())


def test_a_reference_out_of_the_partners_view_is_refused(corpus, tmp_path):
    options = {
        **FRAMEWORKS["sdpn"],
        "data_folder": corpus,
        "reference_from": "view",
        "pseudo_positives": "read",
        "ssps_start_epoch": 2,
    }
    with pytest.raises(ValueError, match="partner_crops to {local_views: 1}"):
        run("sdpn_ssps.yaml", tmp_path / "run", **options, num_epochs=2)
    rest = {"partner_crops": "{local_views: 1}", "num_epochs": 1}
    run("sdpn_ssps.yaml", tmp_path / "run", **options, **rest)


@pytest.mark.parametrize("way", ["queue", "read"])
def test_crops_of_a_partner_that_is_not_read_are_warned_of(way, caplog):
    hparams = {
        "sampler": PositiveSampler(
            ClusteringSampling(2, 1), 4, 2, 2, 2, pseudo_positives=way
        ),
        "num_epochs": 2,
        "partner_crops": {"global_views": 1},
        "framework": SimpleNamespace(final_momentum=None),
        "schedule_epochs": 2,
    }
    recipe("train_ssl").warn_unusual_settings(hparams)
    told = "partner_crops does nothing" in caplog.text
    assert told == (way == "queue")
