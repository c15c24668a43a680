"""Other encoders and front ends by overlay: trained, stopped, gone on with.

Each is tiny, and made at random.
"""

import shutil

import pytest
import torch

from ssps_plugin import SpeakerEncoder
from ssps_plugin.pretrained.export import export_run
from tests.recipes.running import (
    ROOT,
    assert_same_run,
    final_model,
    history,
    newest_checkpoint,
    run,
)

ENCODERS = {
    "resnet": {
        "encoder": "{channels: [4, 4, 8, 8], block_sizes: [1, 1, 1, 1]}"
    },
    "xvector": {"encoder": "{tdnn_channels: [8, 8, 8, 8, 16]}"},
    "fast_resnet": {
        "encoder": "{channels: [8, 8, 8, 8], block_sizes: [1, 1, 1, 1]}"
    },
    "authors_features": {},
    "ssl_frontend": {"encoder": "{input_size: 16}"},
    "tuned": {
        "encoder": "{input_size: 16}",
        "features": "{freeze: False}",
        "frontend_lr": 1e-5,
    },
}
# The frameworks that hand features to a second network, among them.
FRAMEWORKS = {"xvector": "moco_ssps", "tuned": "moco_ssps"}
NEED_PACKAGE = ("fast_resnet", "authors_features")
# Those that show what another one shows, too.
SLOW = ("authors_features", "fast_resnet", "tuned")
PREFIX = "embedding_model.features."


@pytest.fixture(scope="session")
def ssl_folder(tmp_path_factory):
    """A Hugging Face model of ten thousand parameters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.WavLMModel(
        transformers.WavLMConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(16, 16, 16),
            conv_stride=(5, 8, 8),
            conv_kernel=(10, 8, 8),
            num_feat_extract_layers=3,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            vocab_size=4,
        )
    )
    folder = tmp_path_factory.mktemp("wavlm")
    model.save_pretrained(folder)
    return folder


def options_for(name, corpus, ssl_folder, framework=None):
    overlay = "ssl_frontend" if name == "tuned" else name
    options = {
        "data_folder": corpus,
        "overlay": f"[hparams/minivox.yaml, hparams/{overlay}.yaml]",
        "num_epochs": 2,
        "num_checkpoints": 9,
        "ssps_start_epoch": 2,
        **ENCODERS[name],
    }
    framework = framework or FRAMEWORKS.get(name, "simclr_ssps")
    if framework == "moco_ssps":
        options["negatives_size"] = 16
    if overlay == "ssl_frontend":
        options["ssl_folder"] = ssl_folder
    return f"{framework}.yaml", options


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in ENCODERS
    ],
)
def trained(request, corpus, ssl_folder, tmp_path_factory):
    """Two epochs, SSPS in the second."""
    hparams, options = options_for(request.param, corpus, ssl_folder)
    output = tmp_path_factory.mktemp("runs") / request.param
    run(hparams, output, **options)
    return request.param, hparams, options, output


def test_it_trains_with_ssps_and_goes_on_as_if_it_had_not_stopped(
    trained, tmp_path
):
    name, hparams, options, output = trained
    rows = history(output)
    assert all(torch.tensor(row["loss"]).isfinite() for row in rows)
    assert all("eer" in row for row in rows) and rows[-1]["coverage"] > 0
    again = tmp_path / name
    shutil.copytree(output, again)
    shutil.rmtree(newest_checkpoint(again))
    run(hparams, again, **options)
    assert_same_run(again, output)


def test_another_run_starts_from_its_snapshot(trained, tmp_path):
    _, hparams, options, output = trained
    (newest,) = (output / "snapshots").glob("epoch_000002-*.ckpt")
    twin = hparams.replace("_ssps", "")
    run(
        twin,
        tmp_path,
        **{**options, "num_epochs": 1, "ssps_start_epoch": None},
        warm_start_from=newest,
    )
    start = history(tmp_path)[0]
    assert start["epoch"] == 0
    assert start["eer"] == history(output)[-1]["eer"]


def test_a_run_of_it_embeds_and_exports(trained, tmp_path):
    name, _, _, output = trained
    encoder = SpeakerEncoder.from_run(output, device="cpu")
    wav = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    expected = encoder.embed(wav)
    assert torch.equal(encoder.embed(wav), expected)
    if name in NEED_PACKAGE:
        return
    folder = export_run(output, tmp_path / "export")
    found = SpeakerEncoder.from_export(folder, device="cpu").embed(wav)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def frontend_state(folder):
    state = final_model(folder)
    return {k: v for k, v in state.items() if k.startswith(PREFIX)}


def test_a_frozen_front_end_stays_and_a_tuned_one_moves_slowly(
    corpus, ssl_folder, tmp_path
):
    moved = {}
    for name in ("ssl_frontend", "tuned"):
        _, options = options_for(name, corpus, ssl_folder, "simclr")
        del options["ssps_start_epoch"]
        options["num_epochs"] = 1
        run("simclr.yaml", tmp_path / name, **options)
        moved[name] = frontend_state(tmp_path / name)
    frozen, tuned = moved["ssl_frontend"], moved["tuned"]
    layer = f"{PREFIX}model.encoder.layers.0.attention.k_proj.weight"
    weights = f"{PREFIX}weights"
    transformers = pytest.importorskip("transformers")
    start = transformers.WavLMModel.from_pretrained(ssl_folder).state_dict()
    for name, value in start.items():
        assert torch.equal(frozen[f"{PREFIX}model.{name}"], value)
    # Adam's steps are at most of the learning rate: 9 here, of 1e-5 each.
    difference = (tuned[layer] - frozen[layer]).abs().max()
    assert 0 < difference < 2e-4
    # The weights of the layers are new, and learn as the encoder does.
    assert frozen[weights].abs().max() > 1e-3
    assert tuned[weights].abs().max() > 1e-3


def test_a_front_end_of_dino_is_the_teachers_own_where_it_is_tuned(
    corpus, ssl_folder, tmp_path
):
    hparams, options = options_for("tuned", corpus, ssl_folder, "dino_ssps")
    run(
        hparams,
        tmp_path,
        **options,
        crop_seconds=None,
        global_crop_seconds=0.4,
        local_crop_seconds=0.3,
        num_mels=40,
        hidden_dim=16,
        bottleneck_dim=6,
        num_outputs=12,
        schedule_epochs=3,
    )
    state = final_model(tmp_path)
    layer = "features.model.encoder.layers.0.attention.k_proj.weight"
    student, teacher = (
        state[f"{model}.{layer}"]
        for model in ("embedding_model", "teacher_model")
    )
    assert not torch.equal(student, teacher)
    assert (student - teacher).abs().max() < 2e-4


# -- errors ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "got none: change ssl_folder"),
        ({"ssl_folder": "nowhere"}, FileNotFoundError, "got nowhere: change"),
        ({"ssl_folder": "."}, FileNotFoundError, "with config.json"),
    ],
)
def test_a_front_end_that_is_not_there_is_named_before_anything_is_made(
    tmp_path, monkeypatch, options, error, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run(
            "simclr.yaml",
            tmp_path / "out",
            overlay=ROOT / "hparams" / "ssl_frontend.yaml",
            **options,
        )
    assert not list(tmp_path.iterdir())


def test_a_front_ends_folder_without_its_overlay_is_refused(
    corpus, ssl_folder, tmp_path
):
    with pytest.raises(ValueError, match="add --overlay .*ssl_frontend"):
        run(
            "simclr.yaml",
            tmp_path,
            data_folder=corpus,
            ssl_folder=ssl_folder,
        )


def test_another_width_than_the_front_ends_names_input_size(
    corpus, ssl_folder, tmp_path
):
    _, options = options_for("ssl_frontend", corpus, ssl_folder, "simclr")
    for key in ("ssps_start_epoch", "encoder"):
        del options[key]
    with pytest.raises(ValueError, match="768 channels.*input_size of enc"):
        run("simclr.yaml", tmp_path, **options)


def test_a_sampler_of_another_dimension_is_refused_at_once(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"reference_dim, 12, got 8 numbers"):
        run(
            "simclr_ssps.yaml",
            tmp_path,
            data_folder=corpus,
            sampler="{reference_dim: 12}",
        )


def test_a_learning_rate_for_no_front_end_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="change frontend_lr to null"):
        run("simclr.yaml", tmp_path, data_folder=corpus, frontend_lr=1e-5)
