"""Claims about every framework's YAML pair, run on a tiny corpus."""

import json

import pytest
import torch

from ssps_plugin.heads import Prototypes
from tests.recipes.running import (
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    run,
)

# What makes a framework's settings tiny, beside those that all share.
FRAMEWORKS = {
    "moco": {
        "negatives_size": 16,
        "mask_false_negatives": True,
        "margin": "!new:ssps_plugin.losses.CurricularMargin",
    },
    "vicreg": {"hidden_dim": 16, "projection_dim": 6},
    "swav": {
        "hidden_dim": 16,
        "projection_dim": 6,
        "num_prototypes": 6,
        "feature_queue_size": 16,
        "feature_queue_start_epoch": 2,
    },
    "dino": {
        "crop_seconds": None,
        "global_crop_seconds": 0.4,
        "local_crop_seconds": 0.3,
        "num_mels": 40,
        "hidden_dim": 16,
        "bottleneck_dim": 6,
        "num_outputs": 12,
        "schedule_epochs": 3,
    },
    "sdpn": {
        "crop_seconds": None,
        "global_crop_seconds": 0.4,
        "local_crop_seconds": 0.3,
        "num_mels": 40,
        "hidden_dim": 16,
        "bottleneck_dim": 6,
        "num_prototypes": 6,
        "dimension_weight": 0.1,
        "schedule_epochs": 3,
    },
}
SSPS = {"ssps_start_epoch": 2}
# Files of a checkpoint that say where a run is, not what it has learnt.
PLACE = {
    "brain.ckpt",
    "dataloader-TRAIN.ckpt",
    "epoch_counter.ckpt",
    "read_failures.ckpt",
}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def whole_run(request, corpus, tmp_path_factory):
    """Two epochs, SSPS in the second; a checkpoint inside each."""
    options = {
        "data_folder": corpus,
        "num_epochs": 2,
        "num_checkpoints": 9,
        "ckpt_interval_steps": 3,
        **FRAMEWORKS[request.param],
    }
    output = tmp_path_factory.mktemp("runs") / request.param
    run(f"{request.param}_ssps.yaml", output, **SSPS, **options)
    return request.param, options, output


def state_of(checkpoint):
    """Every tensor and number of a checkpoint, by file and place in it."""

    def leaves(place, value):
        if isinstance(value, dict):
            value = list(value.items())
        elif not isinstance(value, (list, tuple)):
            return {place: value}
        else:
            value = list(enumerate(value))
        found = {}
        for key, part in value:
            found |= leaves(f"{place}/{key}", part)
        return found

    found = {}
    for path in sorted(checkpoint.glob("*.ckpt")):
        if path.name not in PLACE:
            found |= leaves(path.stem, torch.load(path, weights_only=False))
    return found


def test_whole_run_substitutes_and_verifies(whole_run):
    _, _, output = whole_run
    results = json.loads((output / "results.json").read_text())
    assert 0 <= results["eer_percent"] <= 100
    assert results["coverage"] > 0
    assert all(torch.tensor(row["loss"]).isfinite() for row in history(output))


def test_a_resume_inside_the_ssps_epoch_changes_nothing(whole_run, tmp_path):
    name, options, output = whole_run
    again = tmp_path / name
    copy_inside_last_epoch(output, again)
    run(f"{name}_ssps.yaml", again, **SSPS, **options)
    assert history(again) == history(output)
    assert (again / "results.json").exists()
    expected = state_of(newest_checkpoint(output))
    found = state_of(newest_checkpoint(again))
    assert found.keys() == expected.keys()
    for place, value in found.items():
        if torch.is_tensor(value):
            assert torch.equal(value, expected[place]), place
        elif isinstance(value, (bool, int, float, str)):
            assert value == expected[place], place


@pytest.fixture(scope="module")
def plain_run(whole_run, tmp_path_factory):
    name, options, _ = whole_run
    output = tmp_path_factory.mktemp("plain") / name
    run(f"{name}.yaml", output, **options)
    return output


def test_the_plain_twin_is_the_same_run_until_ssps_starts(whole_run, plain_run):
    name, _, output = whole_run
    plain, ssps = history(plain_run), history(output)
    assert plain[0]["loss"] == ssps[0]["loss"]
    if name != "dino":  # its references move the teacher's batch statistics
        assert plain[0]["eer"] == ssps[0]["eer"]
    assert plain[1]["loss"] != ssps[1]["loss"]


def test_a_warm_start_takes_up_all_that_the_plain_twin_trained(
    whole_run, plain_run, tmp_path
):
    name, options, _ = whole_run
    warm = {**options, "num_epochs": 3, "ssps_start_epoch": 3}
    save = plain_run / "save"
    run(f"{name}_ssps.yaml", tmp_path, warm_start_from=save, **warm)
    start, first = history(tmp_path)
    assert (start["epoch"], first["epoch"]) == (2, 3)
    assert start["eer"] == history(plain_run)[-1]["eer"]
    assert first["coverage"] > 0 and first["seen"] == 1.0


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("moco", "CentroidSampling {num_clusters: 6, num_neighbors: 1}"),
        ("dino", "NearestNeighborSampling {num_neighbors: 3, search: faiss}"),
    ],
)
def test_another_strategy_is_set_on_the_command_line(
    name, strategy, corpus, tmp_path
):
    options = {"data_folder": corpus, "num_epochs": 2, **FRAMEWORKS[name]}
    options |= {"verify_interval": 9, "num_made_trials": 4}
    sampler = f"{{strategy: !new:ssps_plugin.{strategy}}}"
    run(f"{name}_ssps.yaml", tmp_path, sampler=sampler, **SSPS, **options)
    last = history(tmp_path)[-1]
    assert last["coverage"] > 0.8
    # A centroid is no utterance; nearest neighbours make no clusters.
    assert ("speaker_accuracy" in last) == (name == "dino")
    assert ("cluster_size_min" in last) == (name == "moco")
    assert ("search_recall" in last) == (name == "dino")


@pytest.mark.parametrize("name", ["dino", "swav", "vicreg"])
def test_bfloat16_trains_with_ssps(name, corpus, tmp_path):
    options = {
        "data_folder": corpus,
        "num_epochs": 2,
        "verify_interval": 9,
        "num_made_trials": 4,
        **FRAMEWORKS[name],
    }
    run(f"{name}_ssps.yaml", tmp_path, "--precision=bf16", **SSPS, **options)
    losses = torch.tensor([row["loss"] for row in history(tmp_path)])
    assert losses.isfinite().all()
    assert history(tmp_path)[-1]["coverage"] > 0


def test_prototypes_stay_in_the_first_epoch_and_move_in_the_second(
    corpus, tmp_path, monkeypatch
):
    starts = []

    def noting(prototypes, epoch):
        starts.append(prototypes.weight.detach().clone())
        return begin_epoch(prototypes, epoch)

    begin_epoch = Prototypes.begin_epoch
    monkeypatch.setattr(Prototypes, "begin_epoch", noting)
    options = {"data_folder": corpus, "num_epochs": 2, **FRAMEWORKS["swav"]}
    run("swav.yaml", tmp_path, verify_interval=9, **options)
    end = torch.load(newest_checkpoint(tmp_path) / "prototypes.ckpt")["weight"]
    assert torch.equal(starts[0], starts[1])
    assert not torch.allclose(starts[1], end)


@pytest.mark.parametrize("whole_run", ["swav"], indirect=True)
def test_the_feature_queue_holds_both_sides_of_every_step(whole_run):
    _, _, output = whole_run
    queue = torch.load(newest_checkpoint(output) / "queue.ckpt")
    # 4 steps of 8 utterances in each of two epochs.
    assert queue["_extra_state"].tolist() == [64, 64]
    anchors, positives = queue["features"]
    torch.testing.assert_close(anchors.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(positives.norm(dim=1), torch.ones(16))
    assert not torch.allclose(anchors, positives)
