"""Claims about runs that draw in the space of another, trained encoder."""

import json

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.pretrained import SpeakerEncoder, export_run
from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.configuration import read_saved_settings
from tests.recipes.running import (
    assert_same_run,
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    recipe,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS

CENTROIDS = (
    "!new:ssps_plugin.CentroidSampling {num_clusters: 6, num_neighbors: 1}"
)
INSIDE = {"num_checkpoints": 9, "ckpt_interval_steps": 3}


@pytest.fixture(scope="module")
def guide(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("guide") / "simclr"
    run("simclr.yaml", output, data_folder=corpus, num_epochs=1)
    return output


def saved_settings(folder):
    return read_saved_settings(folder / "hyperparams.yaml")


def saved_in(folder):
    files = [*folder.glob("save/*/*"), *folder.glob("snapshots/*")]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_references_are_the_other_encoders_and_it_is_not_trained(
    framework, guide, corpus, tmp_path, monkeypatch
):
    encoder, pairs = SpeakerEncoder.from_run(guide, device="cpu"), []
    forward, before = SSLBrain.compute_forward, saved_in(guide)

    def noting(brain, batch, stage):
        predictions = forward(brain, batch, stage)
        if predictions.reference is not None:
            by_hand = F.normalize(encoder(batch.reference.data), dim=1)
            pairs.append((predictions.reference, by_hand))
        return predictions

    monkeypatch.setattr(SSLBrain, "compute_forward", noting)
    options = {**FRAMEWORKS[framework], "data_folder": corpus}
    log = run(
        f"{framework}_ssps.yaml", tmp_path, **options, reference_encoder=guide
    )
    assert len(pairs) > 8
    for reference, by_hand in pairs:
        torch.testing.assert_close(reference, by_hand, rtol=1e-5, atol=1e-6)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["coverage"] > 0
    assert results["reference_encoder"] == str(guide)
    assert f"References are embedded by {guide} (SimCLR)" in log
    assert "SPEAKER LABELS" not in log
    assert saved_in(guide) == before
    names = torch.load(newest_checkpoint(tmp_path) / "framework.ckpt").keys()
    assert not any("reference" in name for name in names)


@pytest.mark.parametrize("way", ["queue", "read"])
def test_a_resume_inside_the_epoch_is_the_same_run(
    way, guide, corpus, tmp_path
):
    whole, again = tmp_path / "whole", tmp_path / "again"
    options = {"data_folder": corpus, "pseudo_positives": way, **INSIDE}
    options["reference_encoder"] = guide
    run("simclr_ssps.yaml", whole, **options)
    copy_inside_last_epoch(whole, again)
    run("simclr_ssps.yaml", again, **options)
    assert_same_run(whole, again)


def test_an_export_of_another_dimension_will_do(guide, corpus, tmp_path):
    export = export_run(guide, tmp_path / "export")
    options = {"data_folder": corpus, "embedding_dim": 12, "num_epochs": 2}
    options |= {"reference_encoder": export, "ssps_start_epoch": 2}
    run("simclr_ssps.yaml", tmp_path / "run", **options)
    assert history(tmp_path / "run")[-1]["coverage"] > 0
    assert saved_settings(tmp_path / "run")["reference_dim"] == 8
    options["sampler"] = "{reference_dim: 12}"
    with pytest.raises(ValueError, match=r"reference_dim \(of sampler\) to 8"):
        run("simclr_ssps.yaml", tmp_path / "other", **options)
    assert not (tmp_path / "other" / "hyperparams.yaml").exists()


def test_several_encoders_are_one_space(guide, corpus, tmp_path, monkeypatch):
    other = tmp_path / "other"
    run("vicreg.yaml", other, data_folder=corpus, num_epochs=1, embedding_dim=6)
    encoders = [
        SpeakerEncoder.from_run(of, device="cpu") for of in (guide, other)
    ]
    forward, seen = SSLBrain.compute_forward, []

    def noting(brain, batch, stage):
        predictions = forward(brain, batch, stage)
        if predictions.reference is not None:
            wavs = batch.reference.data
            cosines = [
                F.normalize(one(wavs), dim=1) @ F.normalize(one(wavs), dim=1).T
                for one in encoders
            ]
            mean = (cosines[0] + cosines[1]) / 2
            seen.append((predictions.reference @ predictions.reference.T, mean))
        return predictions

    monkeypatch.setattr(SSLBrain, "compute_forward", noting)
    output = tmp_path / "run"
    options = {
        "data_folder": corpus,
        "reference_encoder": f"[{guide}, {other}]",
    }
    options |= {"ssps_start_epoch": 2, "num_epochs": 2}
    log = run("simclr_ssps.yaml", output, **options)
    assert len(seen) > 4
    for cosines, mean in seen:
        torch.testing.assert_close(cosines, mean, rtol=1e-4, atol=1e-5)
    assert f"by {guide} (SimCLR) and {other} (VICReg)" in log
    assert saved_settings(output)["reference_dim"] == 14
    results = json.loads((output / "results.json").read_text())
    assert results["reference_encoder"] == [str(guide), str(other)]
    again = tmp_path / "again"
    run("simclr_ssps.yaml", again, **{**options, "num_epochs": 1})
    run("simclr_ssps.yaml", again, **options)  # resumes
    assert_same_run(output, again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_encoder": "nowhere"}, "as reference_encoder.*nowhere"),
        ({"reference_from": "view"}, "change reference_from to clean"),
        ({"sampler": f"{{strategy: {CENTROIDS}}}"}, "leave reference_encoder"),
        ({"reference_dim": 12}, "got 12: leave reference_dim out"),
        ({"sample_rate": 8000}, "for 8000 Hz, got one for 16000"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    options, message, guide, corpus, tmp_path
):
    options = {"reference_encoder": guide, "data_folder": corpus, **options}
    with pytest.raises(ValueError, match=message):
        run("simclr_ssps.yaml", tmp_path / "run", **options)


def test_centroids_are_refused_of_several_encoders_too(guide, corpus, tmp_path):
    options = {"reference_encoder": f"[{guide}, {guide}]"}
    options |= {"sampler": f"{{strategy: {CENTROIDS}}}", "data_folder": corpus}
    with pytest.raises(ValueError, match="leave reference_encoder out"):
        run("simclr_ssps.yaml", tmp_path / "run", **options)


def test_a_resume_in_a_space_of_another_dimension_is_refused(
    guide, corpus, tmp_path
):
    options = {"data_folder": corpus, "ssps_start_epoch": 2, "num_epochs": 2}
    both = f"[{guide}, {guide}]"
    run("simclr_ssps.yaml", tmp_path, **options, reference_encoder=both)
    options["num_epochs"] = 3
    before = saved_in(tmp_path)
    with pytest.raises(ValueError, match=r"references of 16 .*got 8.*guide"):
        run("simclr_ssps.yaml", tmp_path, **options, reference_encoder=guide)
    assert saved_in(tmp_path) == before
    run("simclr_ssps.yaml", tmp_path, **options, reference_encoder=both)
    assert len(history(tmp_path)) == 3


def test_verify_names_the_encoders_too(guide, corpus, tmp_path):
    options = {"data_folder": corpus, "ssps_start_epoch": 2, "num_epochs": 2}
    run("simclr_ssps.yaml", tmp_path, **options, reference_encoder=guide)
    recipe("verify").main([str(tmp_path / "hyperparams.yaml")])
    written = next((tmp_path / "verify").glob("*/results.json"))
    results = json.loads(written.read_text())
    assert results["reference_encoder"] == str(guide)


def test_without_ssps_it_does_nothing_and_says_so(guide, corpus, tmp_path):
    options = {"data_folder": corpus, "num_epochs": 1}
    log = run("simclr.yaml", tmp_path, **options, reference_encoder=guide)
    assert "reference_encoder does nothing without SSPS" in log


def test_one_that_read_labels_is_named(corpus, tmp_path):
    options = {"data_folder": corpus, "num_epochs": 1}
    guide = tmp_path / "guide"
    run("simclr.yaml", guide, **options, true_positives=True)
    run_again = {**options, "reference_encoder": guide, "ssps_start_epoch": 2}
    log = run("simclr_ssps.yaml", tmp_path / "run", **run_again)
    assert "reference_encoder READ SPEAKER LABELS" in log


def test_another_encoder_than_before_is_warned_of(guide, corpus, tmp_path):
    options = {"data_folder": corpus, "ssps_start_epoch": 2}
    options["reference_encoder"] = guide
    told = "reference_encoder has other weights"
    run("simclr_ssps.yaml", tmp_path / "run", **options, num_epochs=2)
    log = run("simclr_ssps.yaml", tmp_path / "run", **options, num_epochs=3)
    assert told not in log
    other = tmp_path / "other"
    run("simclr.yaml", other, data_folder=corpus, num_epochs=1, seed=7)
    options["reference_encoder"] = other
    log = run("simclr_ssps.yaml", tmp_path / "run", **options, num_epochs=4)
    assert told in log
