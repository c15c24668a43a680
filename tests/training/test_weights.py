"""Weights of other origins: read as data, matched by name, order and shape."""

import logging
import os

import numpy as np
import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.ResNet import ResNet
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization
from torch import nn

from ssps_plugin.frameworks import (
    DINO,
    EmbeddingModel,
    FastResNet34,
    Fbank,
    LogMelSpectrogram,
    MoCo,
    MomentumSchedule,
    SimCLR,
    VICReg,
)
from ssps_plugin.frameworks.architectures import find_architecture
from ssps_plugin.heads import DINOHead, MLPHead
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.snapshots import Snapshots
from ssps_plugin.training.weights import check_weights, load_weights
from tests.training.reference_encoders import ECAPA, FastResNet, randomise

BANDS, DIM = 20, 6
SMALL = {
    "lin_neurons": DIM,
    "channels": [16, 16, 16, 16, 48],
    "attention_channels": 8,
    "se_channels": 12,
}
FEATURES = torch.randn(3, 50, BANDS, generator=torch.Generator().manual_seed(3))
LENGTHS = torch.ones(3)


def ecapa(bands=BANDS, **options):
    return ECAPA_TDNN(bands, **{**SMALL, **options}).eval()


def embedding_model(encoder=None, bands=BANDS):
    return EmbeddingModel(
        Fbank(n_mels=bands),
        InputNormalization(norm_type="sentence"),
        ecapa(bands) if encoder is None else encoder,
    ).eval()


def head(dims=(DIM, 8, 4), outputs=5):
    return DINOHead(list(dims), num_outputs=outputs)


def dino(model=None):
    model = embedding_model() if model is None else model
    return DINO(model, head(), MomentumSchedule(0.9))


def same(one, other):
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def authors(tmp_path):
    """A reference ECAPA-TDNN and the authors' kind of file of it."""
    torch.manual_seed(0)
    encoder = randomise(ECAPA(BANDS, DIM))
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    state["projector.0.weight"] = torch.zeros(3, DIM)
    path = tmp_path / "model_avg.pt"
    torch.save(
        {
            "model": state,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
            "epoch": 12,
            "best": np.float64(2.5),
        },
        path,
    )
    return encoder, path


def test_the_authors_ecapa_gives_the_embeddings_of_plain_torch(authors):
    reference, path = authors
    encoder = ecapa()
    report = load_weights(encoder, path)
    with torch.no_grad():
        found = encoder(FEATURES, LENGTHS)[:, 0]
        expected = reference(FEATURES.transpose(1, 2))
    assert expected.norm() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert report.prefix == "model.encoder."
    assert report.renamed["asp_bn.norm.weight"] == "asp_bn.weight"
    assert report.renamed["fc.conv.weight"] == "fc.weight"
    assert report.unused == ["model.projector.0.weight"]
    assert not report.by_order


def test_a_linear_last_layer_fits_a_convolution_of_width_1(authors, tmp_path):
    reference, path = authors
    state = reference.state_dict()
    state["fc.weight"] = state["fc.weight"][..., 0]
    torch.save(state, tmp_path / "linear.pt")
    one, other = ecapa(), ecapa()
    load_weights(one, path)
    load_weights(other, tmp_path / "linear.pt")
    assert same(one, other)


@pytest.mark.parametrize("prefix", ["", "module.", "net.module.encoder."])
def test_any_common_prefix_is_found(prefix, tmp_path):
    source, target = randomise(ecapa()), ecapa()
    state = {prefix + k: v for k, v in source.state_dict().items()}
    torch.save(state, tmp_path / "x.ckpt")
    assert load_weights(target, tmp_path / "x.ckpt").prefix == prefix
    assert same(source, target)


def test_names_of_nobodys_are_matched_by_order_and_shape(tmp_path):
    reference = randomise(FastResNet(dim=DIM))
    torch.save(reference.state_dict(), tmp_path / "x.pt")
    encoder = FastResNet34(lin_neurons=DIM).eval()
    features = torch.randn(2, 60, 40)
    # The vector of the pooling, which ours names a parameter, not a weight.
    with pytest.raises(ValueError, match="another architecture"):
        load_weights(encoder, tmp_path / "x.pt")
    state = {
        ("attention" if name == "context.weight" else name): value
        for name, value in reference.state_dict().items()
    }
    state["attention"] = state["attention"].T
    order = [name for name in state if name != "attention"]
    order.insert(order.index("pool.weight"), "attention")
    torch.save({name: state[name] for name in order}, tmp_path / "x.pt")
    report = load_weights(encoder, tmp_path / "x.pt")
    assert report.by_order["conv1.weight"] == "stem.weight"
    with torch.no_grad():
        found = encoder(features, torch.ones(2))[:, 0]
        expected = reference(features.transpose(1, 2))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_part_in_a_module_of_its_own_is_found_by_the_end_of_its_name(
    tmp_path,
):
    torch.manual_seed(0)
    source = randomise(FastResNet34(lin_neurons=DIM))
    state = {
        f"pooling.{k}" if k.startswith(("sap", "attention")) else k: value
        for k, value in source.state_dict().items()
    }
    state = {f"model.encoder.{k}": value for k, value in state.items()}
    torch.save(state, tmp_path / "x.pt")
    target = FastResNet34(lin_neurons=DIM)
    report = load_weights(target, tmp_path / "x.pt")
    assert same(source, target)
    assert report.renamed["attention"] == "pooling.attention"
    found = find_architecture(
        {k.removeprefix("model.encoder."): v for k, v in state.items()}
    )
    assert found.name == "FastResNet34"


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        (("student.encoder.", "teacher.encoder."), "teacher.encoder"),
        (("encoder.", "encoder_ema."), "encoder_ema"),
        (("encoder_q.", "encoder_k."), "encoder_q"),
        (("encoder.", "encoder_momentum."), "encoder"),
        (("encoder.", "encoder_momentum.", "head."), "encoder_momentum"),
    ],
)
def test_of_two_networks_the_one_that_is_verified_is_taken(
    prefixes, expected, tmp_path, caplog
):
    networks = {p: randomise(ecapa(), seed=n) for n, p in enumerate(prefixes)}
    state = {
        prefix + name: value
        for prefix, network in networks.items()
        for name, value in network.state_dict().items()
        if prefix != "head." or name == "fc.conv.weight"
    }
    torch.save({"model": state}, tmp_path / "x.pt")
    target = ecapa()
    with caplog.at_level(logging.WARNING):
        load_weights(target, tmp_path / "x.pt")
    assert same(target, networks[f"{expected}."])
    assert f"that under model.{expected} is taken" in caplog.text
    other = next(iter(set(prefixes) - {f"{expected}.", "head."}))
    load_weights(target, tmp_path / "x.pt", prefix=f"model.{other[:-1]}")
    assert same(target, networks[other])


def test_a_snapshot_and_its_folder_load_into_an_embedding_model(tmp_path):
    model, target = randomise(embedding_model()), embedding_model()
    snapshots = Snapshots(tmp_path / "run" / "snapshots", num_kept=3)
    for epoch in (1, 2):
        randomise(model, seed=epoch)
        snapshots.save(epoch, model)
    (newest,) = snapshots.folder.glob("epoch_000002-*.ckpt")
    for source in (newest, snapshots.folder, tmp_path / "run"):
        randomise(target, seed=9)
        report = load_weights(target, source)
        assert same(model, target)
        assert report.path == newest and not report.unused


def save_run(folder, framework, epoch=3):
    checkpointer = AtomicCheckpointer(folder / "save", {"framework": framework})
    checkpointer.save_checkpoint(meta={"epoch": epoch})
    checkpointer.wait()
    return folder


def test_a_run_loads_with_its_heads_from_its_output_or_save_folder(tmp_path):
    framework = randomise(dino())
    run = save_run(tmp_path / "run", framework)
    for source in (run, run / "save", next((run / "save").glob("CKPT*"))):
        target = dino()
        report = load_weights(target, source)
        assert same(framework, target)
        assert not report.made_new and not report.unused


def test_another_frameworks_head_is_made_new_and_said(tmp_path):
    framework = randomise(dino())
    run = save_run(tmp_path / "run", framework)
    target = VICReg(embedding_model(), MLPHead([DIM, 4]))
    before = {k: v.clone() for k, v in target.projector.state_dict().items()}
    report = load_weights(target, run)
    # The teacher, which was verified, and not the student.
    assert same(target.embedding_model, framework.teacher_model)
    assert report.made_new == ["projector"]
    assert "Made new: projector." in str(report)
    for name, value in target.projector.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("kind", [dino, None])
def test_weights_go_into_both_networks_of_a_momentum_framework(
    kind, authors, tmp_path
):
    target = dino() if kind else MoCo(embedding_model(), MomentumSchedule(0.9))
    report = load_weights(target, authors[1])
    encoder = ecapa()
    load_weights(encoder, authors[1])
    copies = [m for m in target.children() if isinstance(m, EmbeddingModel)]
    assert len(copies) == 2
    assert all(same(copy.encoder, encoder) for copy in copies)
    expected = ["head", "teacher_head"] if kind else []
    assert report.made_new == expected
    momentum = copies[1].parameters()
    assert not any(parameter.requires_grad for parameter in momentum)


def test_speechbrains_folder_is_found(tmp_path):
    encoder = randomise(ecapa())
    torch.save(encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    torch.save({"count": 0}, tmp_path / "mean_var_norm_emb.ckpt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "classifier.ckpt")
    (tmp_path / "hyperparams.yaml").write_text("x: !apply:os.abort []\n")
    target = SimCLR(embedding_model())
    report = load_weights(target, tmp_path)
    assert same(target.embedding_model.encoder, encoder)
    assert report.path == tmp_path / "embedding_model.ckpt"


def test_safetensors_are_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    source, target = randomise(ecapa()), ecapa()
    safetensors.save_file(source.state_dict(), tmp_path / "x.safetensors")
    load_weights(target, tmp_path)
    assert same(source, target)


def test_the_authors_weights_on_other_features_are_warned_of(
    authors, tmp_path, caplog
):
    load_weights(SimCLR(embedding_model()), authors[1])
    assert "--overlay hparams/authors_features.yaml" in caplog.text
    caplog.clear()
    torch.save(ecapa().state_dict(), tmp_path / "speechbrain.ckpt")
    load_weights(SimCLR(embedding_model()), tmp_path / "speechbrain.ckpt")
    model = embedding_model()
    model.features = LogMelSpectrogram(n_mels=BANDS)
    load_weights(SimCLR(model), authors[1])
    assert not caplog.text


# -- errors ----------------------------------------------------------------


def test_another_size_names_tensors_shapes_and_the_keys_to_change(tmp_path):
    source = ecapa(30, lin_neurons=9, channels=[24, 24, 24, 24, 48])
    torch.save(source.state_dict(), tmp_path / "x.ckpt")
    target = SimCLR(embedding_model())
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(ValueError, match="another architecture") as raised:
        load_weights(target, tmp_path / "x.ckpt")
    message = str(raised.value)
    assert "encoder.blocks.0.conv.conv.weight (24, 30, 5) for (16, 20, 5)" in (
        message
    )
    assert "num_mels to 30" in message
    assert "embedding_dim to 9" in message
    assert "encoder_channels to [24, 24, 24, 24, 48]" in message
    assert "attention_channels" not in message
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name])


def test_another_class_is_named(tmp_path):
    source = ResNet(input_size=24, channels=[4, 4, 8, 8], lin_neurons=DIM)
    torch.save(source.state_dict(), tmp_path / "x.ckpt")
    message = r"\d+ missing \(.*They are of .*ResNet: change encoder"
    with pytest.raises(ValueError, match=message):
        check_weights(embedding_model(), tmp_path / "x.ckpt")


def test_a_missing_tensor_is_named(tmp_path):
    state = ecapa().state_dict()
    del state["mfa.conv.conv.bias"]
    torch.save(state, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"1 missing \(mfa.conv.conv.bias\)"):
        load_weights(ecapa(), tmp_path / "x.ckpt")


def test_a_count_of_batches_may_be_missing(tmp_path):
    state = {
        name: value
        for name, value in randomise(ecapa()).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "x.ckpt")
    target = ecapa()
    load_weights(target, tmp_path / "x.ckpt")
    assert torch.equal(
        target.state_dict()["fc.conv.bias"], state["fc.conv.bias"]
    )


class Dangerous:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_a_file_that_needs_pickle_is_refused_and_not_executed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": ecapa().state_dict(), "x": Dangerous()}, "x.pt")
    with pytest.raises(ValueError, match=r"needs \S*mkdir .*state_dict\(\)"):
        load_weights(ecapa(), "x.pt")
    torch.save(ecapa(), "whole.pt")
    with pytest.raises(ValueError, match=r"needs \S*ECAPA_TDNN .*never"):
        load_weights(ecapa(), "whole.pt")
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "x.pt")
    with pytest.raises(ValueError, match="a TorchScript program"):
        load_weights(ecapa(), tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"mine", b"PK\x03\x04mine"])
def test_a_file_that_is_no_weights_is_named(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"file of weights at .*x\.pt"):
        load_weights(ecapa(), tmp_path / "x.pt")


def test_a_file_cut_short_is_named(tmp_path):
    torch.save(ecapa().state_dict(), tmp_path / "x.ckpt")
    whole = (tmp_path / "x.ckpt").read_bytes()
    (tmp_path / "x.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is none or is damaged"):
        load_weights(ecapa(), tmp_path / "x.ckpt")


def test_a_file_without_tensors_is_named(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="without any named tensor"):
        load_weights(ecapa(), tmp_path / "x.ckpt")


def test_what_is_not_there_is_named_and_a_hubs_name_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="which is not there: change"):
        load_weights(ecapa(), tmp_path / "x.ckpt")
    for name in ("speechbrain/spkrec-ecapa-voxceleb", "https://x.org/a.pt"):
        with pytest.raises(FileNotFoundError, match="download it first"):
            load_weights(ecapa(), name)
    with pytest.raises(FileNotFoundError, match="a folder with none"):
        load_weights(ecapa(), tmp_path)


def test_of_several_files_one_is_to_be_named(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save(ecapa().state_dict(), tmp_path / name)
    with pytest.raises(ValueError, match="got a.pt, b.pt: name one"):
        load_weights(ecapa(), tmp_path)


# -- architectures ---------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "arguments"),
    [
        (
            ecapa(kernel_sizes=[3, 5, 5, 5, 1], res2net_scale=4),
            {
                **SMALL,
                "input_size": BANDS,
                "kernel_sizes": [3, 5, 5, 5, 1],
                "res2net_scale": 4,
                "global_context": True,
            },
        ),
        (
            ECAPA(BANDS, DIM),
            {
                **SMALL,
                "input_size": BANDS,
                "kernel_sizes": [5, 3, 3, 3, 1],
                "res2net_scale": 8,
                "global_context": True,
            },
        ),
        (
            ResNet(24, channels=[4, 4, 8, 8], lin_neurons=5),
            {
                "input_size": 24,
                "channels": [4, 4, 8, 8],
                "block_sizes": [3, 4, 6, 3],
                "lin_neurons": 5,
            },
        ),
        (
            Xvector(in_channels=24, tdnn_channels=[4] * 4 + [6], lin_neurons=5),
            {
                "in_channels": 24,
                "tdnn_blocks": 5,
                "tdnn_channels": [4, 4, 4, 4, 6],
                "tdnn_kernel_sizes": [5, 3, 3, 1, 1],
                "lin_neurons": 5,
            },
        ),
        (
            FastResNet34(lin_neurons=5, squeeze_excitation=False),
            {
                "input_size": 40,
                "channels": [16, 32, 64, 128],
                "block_sizes": [3, 4, 6, 3],
                "lin_neurons": 5,
                "squeeze_excitation": False,
            },
        ),
    ],
    ids=["ecapa", "authors", "resnet", "xvector", "fast"],
)
def test_an_architecture_is_found_by_names_and_shapes(encoder, arguments):
    found = find_architecture(encoder.state_dict())
    assert found.arguments == arguments
    assert find_architecture({"fc.weight": torch.ones(2)}) is None
