"""Foreign weights become exports, with the embeddings that they gave."""

import json
import logging

import pytest
import torch
import torchaudio
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.ResNet import ResNet
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization
from torch import nn

from ssps_plugin import SpeakerEncoder
from ssps_plugin.frameworks import FastResNet34
from ssps_plugin.pretrained import import_weights
from tests.training.reference_encoders import ECAPA, FastResNet, randomise

DIM, BANDS = 6, 24
ENCODER = {
    "lin_neurons": DIM,
    "channels": [16, 16, 16, 16, 48],
    "attention_channels": 8,
    "se_channels": 12,
}
HYPERPARAMS = """\
n_mels: 24
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
    n_fft: 512
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: True
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 2, 2, 1]
    attention_channels: 8
    se_channels: 12
    lin_neurons: 6
classifier: !apply:os.abort []
"""


def wavs(num=2, samples=12000):
    generator = torch.Generator().manual_seed(5)
    return 0.1 * torch.randn(num, samples, generator=generator)


def assert_same_directions(found, expected):
    """Deep networks of random weights have embeddings of any length."""
    one, other = (nn.functional.normalize(e) for e in (found, expected))
    torch.testing.assert_close(one, other, atol=2e-5, rtol=0)


def embedded(folder, audio):
    return SpeakerEncoder.from_export(folder, device="cpu").embed(list(audio))


def authors_features(audio, num_mels, window=torch.hamming_window):
    """As published, by torchaudio and torch alone; `(batch, bands, frames)`."""
    mel = torchaudio.transforms.MelSpectrogram(
        16000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        window_fn=window,
        n_mels=num_mels,
    )
    return nn.InstanceNorm1d(num_mels)((mel(audio) + 1e-6).log())


@pytest.mark.parametrize("num_mels", [40, 80])
def test_the_authors_weights_give_the_embeddings_of_plain_torch(
    tmp_path, num_mels
):
    torch.manual_seed(0)
    reference = randomise(ECAPA(num_mels, DIM))
    state = {f"encoder.{k}": v for k, v in reference.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, tmp_path / "model_avg.pt")
    folder = import_weights(tmp_path / "model_avg.pt", tmp_path / "out")
    audio = wavs()
    with torch.no_grad():
        expected = reference(authors_features(audio, num_mels))
    found = embedded(folder, audio)
    assert expected.norm(dim=1).min() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_dinos_teacher_is_brought_in(tmp_path, caplog):
    torch.manual_seed(0)
    student = randomise(ECAPA(40, DIM), seed=1)
    teacher = randomise(ECAPA(40, DIM), seed=2)
    state = {f"student.{k}": v for k, v in student.state_dict().items()}
    state |= {f"teacher.{k}": v for k, v in teacher.state_dict().items()}
    state["head.last_layer.weight"] = torch.ones(2, 2)
    torch.save({"model": state}, tmp_path / "x.pt")
    folder = import_weights(tmp_path / "x.pt", tmp_path / "out")
    with torch.no_grad():
        expected = teacher(authors_features(wavs(), 40))
    found = embedded(folder, wavs())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    other = import_weights(
        tmp_path / "x.pt", tmp_path / "student", prefix="model.student"
    )
    assert not torch.allclose(embedded(other, wavs()), found, atol=1e-3)


def test_fast_resnet_is_brought_in_with_its_yaml_and_its_buffers(tmp_path):
    torch.manual_seed(0)
    encoder = randomise(FastResNet34(input_size=64, lin_neurons=DIM))
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    mel = torchaudio.transforms.MelSpectrogram(
        16000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        window_fn=torch.hann_window,
        n_mels=64,
    )
    buffers = mel.state_dict()
    state |= {f"encoder.features.{k}": v for k, v in buffers.items()}
    (tmp_path / "checkpoints").mkdir()
    torch.save({"model": state}, tmp_path / "checkpoints" / "model_avg.pt")
    (tmp_path / "config.yml").write_text("encoder:\n  mel_n_mels: 40\n")
    folder = import_weights(tmp_path, tmp_path / "out")
    features = authors_features(wavs(), 64, torch.hann_window)
    with torch.no_grad():
        expected = encoder(features.transpose(1, 2), None)[:, 0]
    assert_same_directions(embedded(folder, wavs()), expected)


def test_the_yaml_beside_weights_says_what_shapes_do_not(tmp_path):
    torch.manual_seed(0)
    encoder = randomise(FastResNet34(input_size=64, lin_neurons=DIM))
    torch.save(encoder.state_dict(), tmp_path / "x.pt")
    (tmp_path / "config.yml").write_text(
        "encoder: {mel_n_mels: 64, mel_win_fn: hann}\n"
    )
    folder = import_weights(tmp_path, tmp_path / "out")
    features = authors_features(wavs(), 64, torch.hann_window)
    with torch.no_grad():
        expected = encoder(features.transpose(1, 2), None)[:, 0]
    assert_same_directions(embedded(folder, wavs()), expected)


def test_fast_resnet_in_plain_torch_gives_the_same_by_its_published_names():
    reference = randomise(FastResNet(dim=DIM))
    encoder = FastResNet34(lin_neurons=DIM).eval()
    # In both the tensors come in one order, but for the pooling's vector.
    values = dict(reference.state_dict())
    vector = values.pop("context.weight").T
    names = [name for name in encoder.state_dict() if name != "attention"]
    state = dict(zip(names, values.values(), strict=True))
    encoder.load_state_dict({**state, "attention": vector})
    features = torch.randn(2, 50, 40)
    with torch.no_grad():
        expected = reference(features.transpose(1, 2))
        found = encoder(features)[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.fixture
def spkrec(tmp_path):
    """The layout of spkrec-ecapa-voxceleb, and its encoder."""
    torch.manual_seed(0)
    encoder = randomise(ECAPA_TDNN(BANDS, **ENCODER, dilations=[1, 2, 2, 2, 1]))
    folder = tmp_path / "spkrec"
    folder.mkdir()
    torch.save(encoder.state_dict(), folder / "embedding_model.ckpt")
    torch.save({"weight": torch.ones(9, DIM)}, folder / "classifier.ckpt")
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS)
    return folder, encoder


def test_speechbrains_folder_keeps_its_features_and_executes_nothing(
    spkrec, tmp_path
):
    source, encoder = spkrec
    folder = import_weights(source, tmp_path / "out")
    features = Fbank(n_mels=BANDS, n_fft=512)
    normalise = InputNormalization(norm_type="sentence", std_norm=True)
    audio, lengths = wavs(), torch.ones(2)
    with torch.no_grad():
        expected = encoder(normalise(features(audio), lengths), lengths)[:, 0]
    found = embedded(folder, audio)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    # And plain SpeechBrain loads what was written.
    loaded = EncoderClassifier.from_hparams(
        source=str(folder), run_opts={"device": "cpu"}
    )
    alone = loaded.encode_batch(audio)[:, 0]
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: ECAPA_TDNN(BANDS, **ENCODER),
        lambda: ResNet(
            BANDS,
            channels=[4, 4, 8, 8],
            block_sizes=[1, 1, 1, 1],
            lin_neurons=DIM,
        ),
        lambda: Xvector(
            in_channels=BANDS, tdnn_channels=[8] * 4 + [16], lin_neurons=DIM
        ),
    ],
    ids=["ecapa", "resnet", "xvector"],
)
def test_a_file_alone_is_taken_with_the_features_of_speechbrain(
    encoder, tmp_path, caplog
):
    torch.manual_seed(0)
    encoder = randomise(encoder())
    torch.save(encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    with caplog.at_level(logging.WARNING):
        folder = import_weights(
            tmp_path / "embedding_model.ckpt", tmp_path / "out"
        )
    assert "There is no hyperparams.yaml beside" in caplog.text
    normalise = InputNormalization(norm_type="sentence", std_norm=False)
    audio, lengths = wavs(), torch.ones(2)
    with torch.no_grad():
        features = normalise(Fbank(n_mels=BANDS)(audio), lengths)
        expected = encoder(features, lengths).reshape(2, DIM)
    found = embedded(folder, audio)
    # The x-vector's pooling adds noise of up to 9e-5.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_card_says_where_the_weights_are_from_and_gives_no_threshold(
    spkrec, tmp_path
):
    folder = import_weights(spkrec[0], tmp_path / "out")
    card = (folder / "README.md").read_text()
    assert "brought in from `spkrec/embedding_model.ckpt`" in card
    assert "Lepage" not in card and "self-supervised-learning" not in card
    details = json.loads((folder / "speaker_encoder.json").read_text())
    assert details["imported_from"] == "spkrec/embedding_model.ckpt"
    assert str(tmp_path) not in json.dumps(details)
    encoder = SpeakerEncoder.from_export(folder, device="cpu")
    assert encoder.threshold is None
    assert encoder.sample_rate == 16000


def test_a_card_of_our_front_end_says_that_the_package_is_needed(tmp_path):
    torch.save(ECAPA(40, DIM).state_dict(), tmp_path / "x.pt")
    folder = import_weights(tmp_path / "x.pt", tmp_path / "out")
    assert (
        "where `ssps_plugin` is installed" in (folder / "README.md").read_text()
    )
    assert "is installed" in (folder / "hyperparams.yaml").read_text()


def test_an_export_is_copied(spkrec, tmp_path):
    first = import_weights(spkrec[0], tmp_path / "first")
    again = import_weights(first, tmp_path / "again")
    for path in first.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(FileExistsError, match="another folder"):
        import_weights(first, first, overwrite=True)


# -- errors ----------------------------------------------------------------


def test_an_unknown_architecture_is_named(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)).state_dict(), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"of ECAPA_TDNN.*\(0.weight"):
        import_weights(tmp_path / "x.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_of_an_unknown_class_are_not_built(spkrec, tmp_path):
    source, _ = spkrec
    text = HYPERPARAMS.replace(
        "!new:speechbrain.lobes.features.Fbank", "!new:os.system"
    )
    (source / "hyperparams.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"features of a known.*os\.system"):
        import_weights(source, tmp_path / "out")
    text = HYPERPARAMS.replace("!ref <n_mels>", "!apply:os.abort []", 1)
    (source / "hyperparams.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"value for n_mels .*!apply:os"):
        import_weights(source, tmp_path / "out")


def test_two_networks_of_other_sizes_are_to_be_chosen_from(tmp_path):
    state = {f"a.{k}": v for k, v in ECAPA(40, DIM).state_dict().items()}
    state |= {f"b.{k}": v for k, v in ECAPA(40, 9).state_dict().items()}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"under a\., b\.: name one"):
        import_weights(tmp_path / "x.pt", tmp_path / "out")
    folder = import_weights(tmp_path / "x.pt", tmp_path / "out", prefix="b")
    assert embedded(folder, wavs()).shape == (2, 9)


def test_a_folder_that_is_there_is_kept_unless_overwritten(spkrec, tmp_path):
    folder = import_weights(spkrec[0], tmp_path / "out")
    with pytest.raises(FileExistsError, match="an export is already"):
        import_weights(spkrec[0], folder)
    assert import_weights(spkrec[0], folder, overwrite=True) == folder
