"""A warm start from weights: of an encoder, of a run, of other frameworks."""

import json

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from tests.recipes.running import final_model, history, run
from tests.training.reference_encoders import randomise

ENCODER = {"channels": [8, 8, 8, 8, 24], "attention_channels": 8}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder in the layout of SpeechBrain's pre-trained encoders."""
    torch.manual_seed(0)
    encoder = randomise(ECAPA_TDNN(40, lin_neurons=8, **ENCODER))
    folder = tmp_path_factory.mktemp("spkrec")
    torch.save(encoder.state_dict(), folder / "embedding_model.ckpt")
    return folder


def loaded_encoder(folder):
    path = folder / "embedding_model.ckpt"
    return torch.load(path, weights_only=True)


def test_ssps_starts_in_the_first_epoch_from_a_trained_encoder(
    corpus, weights, tmp_path
):
    options = {
        "data_folder": corpus,
        "warm_start_from": weights,
        "ssps_start_epoch": 1,
    }
    log = run("simclr_ssps.yaml", tmp_path, num_epochs=1, **options)
    assert f"tensors are loaded from {weights / 'embedding_model.ckpt'}" in log
    start, first = history(tmp_path)
    assert (start["epoch"], first["epoch"]) == (0, 1)
    assert "eer" in start and "loss" not in start
    assert first["coverage"] > 0 and first["seen"] == 1.0
    # A resume goes on from its own checkpoint.
    log = run("simclr_ssps.yaml", tmp_path, num_epochs=2, **options)
    assert log.count("tensors are loaded") == 1
    assert [row["epoch"] for row in history(tmp_path)] == [0, 1, 2]
    assert json.loads((tmp_path / "results.json").read_text())["epochs"] == 2


def test_the_first_step_is_from_the_weights(corpus, weights, tmp_path):
    # At a learning rate of next to nothing they stay what they were.
    run(
        "dino.yaml",
        tmp_path,
        data_folder=corpus,
        warm_start_from=weights,
        num_epochs=1,
        lr=1e-30,
        final_lr=0,
        crop_seconds=None,
        global_crop_seconds=0.4,
        local_crop_seconds=0.3,
        num_mels=40,
        hidden_dim=16,
        bottleneck_dim=6,
        num_outputs=12,
        schedule_epochs=3,
    )
    log = (tmp_path / "log.txt").read_text()
    assert "Made new: head, teacher_head." in log
    found, expected = final_model(tmp_path), loaded_encoder(weights)
    for name, value in expected.items():
        if name.endswith(("weight", "bias")):
            for model in ("embedding_model", "teacher_model"):
                torch.testing.assert_close(
                    found[f"{model}.encoder.{name}"], value
                )


def test_a_plain_run_starts_from_the_weights_of_another(
    corpus, whole_run, tmp_path
):
    log = run(
        "vicreg.yaml",
        tmp_path,
        data_folder=corpus,
        warm_start_from=whole_run[0],
        num_epochs=1,
        hidden_dim=16,
        projection_dim=6,
    )
    assert "Made new: projector." in log
    start = history(tmp_path)[0]
    assert start["epoch"] == 0
    assert start["eer"] == history(whole_run[0])[-1]["eer"]


def test_a_start_in_another_epoch_is_refused_before_a_corpus_is_read(
    corpus, whole_run, tmp_path
):
    with pytest.raises(ValueError, match=r"change ssps_start_epoch to \d"):
        run(
            "simclr_ssps.yaml",
            tmp_path,
            data_folder=corpus,
            warm_start_from=whole_run[0],
            ssps_start_epoch=1,
        )
    assert not (tmp_path / "train.csv").exists()


def test_weights_of_other_sizes_are_refused_before_a_corpus_is_read(
    corpus, weights, tmp_path
):
    with pytest.raises(ValueError, match=r"Change embedding_dim to 8\."):
        run(
            "simclr.yaml",
            tmp_path,
            data_folder=corpus,
            warm_start_from=weights,
            embedding_dim=12,
        )
    assert not (tmp_path / "train.csv").exists()
