"""Claims about files of ONNX and of torch.export, tried without the package."""

import inspect
import json
import logging
import re
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from torch import nn

from ssps_plugin.frameworks import InstanceNormalization, LogMelSpectrogram
from ssps_plugin.pretrained import (
    SpeakerEncoder,
    export_onnx,
    export_torch,
    onnx_export,
)
from ssps_plugin.pretrained.thresholds import Thresholds
from tests.pretrained.encoders import (
    DIM,
    ENCODERS,
    NUM_MELS,
    MeanEncoder,
    make_model,
    noise,
)

SHAPES = [(num, seconds) for num in (1, 2, 5) for seconds in (0.3, 1.37, 20)]
# A process that has no other packages than those named.
WITHOUT = """
import sys
for name in {missing}:
    sys.modules[name] = None
"""


@pytest.fixture(scope="module")
def encoder():
    results = {"trial_list": "o.txt", "num_trials": 4, "threshold": 0.625}
    thresholds = Thresholds(results | {"false_acceptance_rate": 0.01})
    model = make_model(MeanEncoder)
    return SpeakerEncoder(model, 16000, thresholds, device="cpu")


@pytest.fixture(scope="module")
def onnx_file(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return export_onnx(encoder, folder / "speaker_encoder.onnx")


@pytest.fixture(scope="module")
def torch_file(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    return export_torch(encoder, folder / "speaker_encoder.pt2")


def session_of(path):
    return onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )


def expected_embeddings(model, wavs):
    with torch.no_grad():
        return model(wavs, torch.ones(len(wavs)))


def largest_difference(model, program, shapes=SHAPES):
    differences = []
    for num, seconds in shapes:
        wavs = noise(num, seconds)
        found = torch.as_tensor(program(wavs))
        assert found.shape == (num, DIM)
        expected = expected_embeddings(model, wavs)
        differences.append(float((found - expected).abs().max()))
    return max(differences)


def run_without(missing, code, *arguments):
    """Run Python code that cannot import what is missing."""
    program = WITHOUT.format(missing=missing) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnx_gives_the_models_embeddings_at_any_length_and_batch(
    encoder, onnx_file
):
    session = session_of(onnx_file)

    def program(wavs):
        return session.run(None, {"waveform": wavs.numpy()})[0]

    assert largest_difference(encoder.embedding_model, program) < 1e-4


def test_onnx_says_what_it_takes_and_where_it_comes_from(encoder, onnx_file):
    session = session_of(onnx_file)
    (waveform,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert (waveform.name, waveform.shape) == ("waveform", ["batch", "samples"])
    assert (embedding.name, embedding.shape) == ("embedding", ["batch", DIM])
    about = session.get_modelmeta().custom_metadata_map
    assert about.pop("ssps_plugin_version")
    assert about == {
        "sample_rate": "16000",
        "embedding_dim": str(DIM),
        "threshold": "0.625",
        "threshold_source": encoder.threshold_source,
    }


def test_onnx_is_one_valid_file_that_older_runtimes_read(onnx_file):
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [
        ("", 18)
    ]
    assert model.ir_version <= 10
    assert [path.name for path in onnx_file.parent.iterdir()] == [
        onnx_file.name
    ]
    assert {node.domain for node in model.graph.node} == {""}


def test_no_path_of_this_machine_is_in_the_files(onnx_file, torch_file):
    package = str(onnx_export.__file__).rpartition("/ssps_plugin/")[0]
    for path in (onnx_file, torch_file):
        content = path.read_bytes()
        assert package.encode() not in content
        assert sys.prefix.encode() not in content


def test_the_documented_script_needs_numpy_soundfile_and_onnxruntime(
    encoder, onnx_file, tmp_path
):
    script = re.search(
        r"alone:\n\n(    import numpy.*?)\n\nThe program",
        inspect.getdoc(onnx_export) or "",
        flags=re.DOTALL,
    )[1]
    script = textwrap.dedent(script)
    for name in ("speaker_encoder.onnx", "A.wav", "B.wav"):
        script = script.replace(f'"{name}"', f'r"{tmp_path / name}"')
    onnx_file.rename(tmp_path / "speaker_encoder.onnx")
    try:
        for name in ("A.wav", "B.wav"):
            wav = noise(1, 1 + len(name) * ord(name[0]) / 1000)[0]
            stereo = torch.stack([wav, 0.5 * wav], dim=1)
            soundfile.write(tmp_path / name, stereo.numpy(), 16000, "FLOAT")
        printed = run_without(
            ["torch", "speechbrain", "ssps_plugin", "onnx"], script
        )
    finally:
        (tmp_path / "speaker_encoder.onnx").rename(onnx_file)
    score, decision, *source = printed.split()
    expected = encoder.compare(tmp_path / "A.wav", tmp_path / "B.wav")
    assert float(score) == pytest.approx(expected.score, abs=1e-5)
    assert decision == str(expected.same_speaker)
    assert " ".join(source) == expected.threshold_source


def test_torch_export_runs_where_only_torch_is(encoder, torch_file, tmp_path):
    batches = [noise(num, seconds) for num, seconds in SHAPES]
    torch.save(batches, tmp_path / "wavs.pt")
    run_without(
        ["speechbrain", "ssps_plugin", "hyperpyyaml", "torchaudio"],
        """
        import torch
        program, wavs, embeddings, about = sys.argv[1:]
        extra = {"speaker_encoder.json": ""}
        module = torch.export.load(program, extra_files=extra).module()
        torch.save([module(one) for one in torch.load(wavs)], embeddings)
        open(about, "w").write(extra["speaker_encoder.json"])
        """,
        torch_file,
        *(tmp_path / name for name in ("wavs.pt", "embeddings.pt", "about")),
    )
    found = torch.load(tmp_path / "embeddings.pt")
    for wavs, embeddings in zip(batches, found, strict=True):
        expected = expected_embeddings(encoder.embedding_model, wavs)
        assert (embeddings - expected).abs().max() < 1e-4
    about = json.loads((tmp_path / "about").read_text())
    assert (about["sample_rate"], about["embedding_dim"]) == (16000, DIM)
    assert about["threshold"] == 0.625


def test_without_the_extra_there_is_one_message(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        RuntimeError,
        match=r"Expected onnxscript, .* pip install 'ssps_plugin\[onnx\]'\.$",
    ):
        export_onnx(encoder, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [17, 1000])
def test_another_opset_is_refused(encoder, tmp_path, opset):
    with pytest.raises(ValueError, match=f"got {opset}: change opset"):
        export_onnx(encoder, tmp_path / "a.onnx", opset=opset)


def test_what_is_no_encoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected a SpeakerEncoder .* Linear"):
        export_torch(nn.Linear(2, 2), tmp_path / "a.pt2")


class Undecided(MeanEncoder):
    """Takes another way for some values, which no program can hold."""

    def forward(self, features, lengths=None):
        embedding = super().forward(features)
        return embedding if embedding.sum() > 0 else -embedding


@pytest.mark.parametrize("write", [export_onnx, export_torch])
def test_an_encoder_that_cannot_be_traced_is_named(tmp_path, write):
    file = tmp_path / "speaker_encoder"
    file.write_text("an older one")
    with pytest.raises(ValueError, match="torch.export .* encoder Undecided"):
        write(make_model(Undecided), file)
    assert file.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [file]


def test_a_program_that_computes_something_else_is_not_written(
    encoder, tmp_path, monkeypatch
):
    def forward(self, waveform):
        return self.encoder(self.features(waveform), None).flatten(1)

    monkeypatch.setattr(onnx_export.TraceableModel, "forward", forward)
    with pytest.raises(RuntimeError, match="Expected the embeddings of the"):
        export_torch(encoder, tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


def test_export_leaves_no_trace(encoder, tmp_path, capfd):
    before = torch.get_rng_state()
    level = logging.getLogger("torch.onnx").level
    encoder.embedding_model.train()
    try:
        export_torch(encoder.embedding_model, tmp_path / "sub" / "a.pt2")
        assert encoder.embedding_model.training
    finally:
        encoder.embedding_model.eval()
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("torch.onnx").level == level
    assert capfd.readouterr() == ("", "")


PUBLISHED_FRONT_END = (
    LogMelSpectrogram(n_mels=NUM_MELS),
    InstanceNormalization(),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "front_end"),
    [*((name, ()) for name in ENCODERS), ("ECAPA_TDNN", PUBLISHED_FRONT_END)],
)
def test_every_encoder_goes_to_both(name, front_end, tmp_path):
    model = make_model(ENCODERS[name], *front_end)
    session = session_of(export_onnx(model, tmp_path / "a.onnx"))
    program = torch.export.load(
        export_torch(model, tmp_path / "a.pt2")
    ).module()

    def run_onnx(wavs):
        return session.run(None, {"waveform": wavs.numpy()})[0]

    assert largest_difference(model, program) < 1e-4
    assert largest_difference(model, run_onnx) < 1e-4


class Lookup(MeanEncoder):
    """Has inside what a tracer calls `embedding`, as WavLM has."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(2, DIM)

    def forward(self, features, lengths=None):
        louder = (features[:, 0].mean(1) > 0).long()  # at the start
        return super().forward(features) + self.table(louder)[:, None]


@pytest.mark.slow
def test_names_inside_do_not_clash_with_the_outputs(tmp_path):
    model = make_model(Lookup)
    session = session_of(export_onnx(model, tmp_path / "a.onnx"))

    def program(wavs):
        return session.run(["embedding"], {"waveform": wavs.numpy()})[0]

    assert largest_difference(model, program, SHAPES[:2]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Wav2Vec2", "WavLM"])
def test_a_self_supervised_front_end_goes(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    front_end = pytest.importorskip(
        "speechbrain.integrations.huggingface.weighted_ssl"
    )
    torch.manual_seed(1)
    configuration = getattr(transformers, f"{name}Config")(
        hidden_size=NUM_MELS,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(5, 64),
        conv_kernel=(10, 64),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    source = tmp_path / "source"
    getattr(transformers, f"{name}Model")(configuration).save_pretrained(source)
    features = front_end.WeightedSSLModel(
        hub=str(source), save_path=str(tmp_path), freeze=True
    )
    model = make_model(MeanEncoder, features)
    session = session_of(export_onnx(model, tmp_path / "a.onnx"))

    def program(wavs):
        return session.run(None, {"waveform": wavs.numpy()})[0]

    assert largest_difference(model, program) < 1e-4


@pytest.mark.slow
def test_a_newer_opset_goes(encoder, tmp_path):
    path = export_onnx(encoder, tmp_path / "a.onnx", opset=20)
    assert onnx.load(path).opset_import[0].version == 20
    wavs = noise(2, 0.7)
    (found,) = session_of(path).run(None, {"waveform": wavs.numpy()})
    expected = expected_embeddings(encoder.embedding_model, wavs)
    assert np.abs(found - expected.numpy()).max() < 1e-4
