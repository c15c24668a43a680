"""Claims about exports, which plain SpeechBrain loads."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
from functools import partial

import pytest
import soundfile
import torch
import yaml

from ssps_plugin.frameworks import DINO, EmbeddingModel, Fbank
from ssps_plugin.pretrained import SpeakerEncoder, export, export_run
from ssps_plugin.pretrained.model_card import write_card
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from tests.recipes.running import history, own_process_environment

BLOCK = """\
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ssps_plugin":
            raise ImportError("ssps_plugin is not installed here")

sys.meta_path.insert(0, Blocker())
"""
NORMALISED = """\
normalization: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: True
"""
BANKS = """\
features: !new:ssps_plugin.frameworks.Fbank
    n_mels: 24
"""


def run_alone(code, folder):
    """Run code in a process where this package cannot be imported."""
    (folder / "sitecustomize.py").write_text(BLOCK)
    environment = own_process_environment()
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain_embeddings(folder, wavs):
    """What SpeechBrain gives, loaded from a folder in this process."""
    from speechbrain.inference.classifiers import EncoderClassifier

    loaded = EncoderClassifier.from_hparams(
        source=str(folder), run_opts={"device": "cpu"}
    )
    return loaded.encode_batch(wavs).squeeze(1)


def make_model(description):
    """Build the embedding model of a YAML text, weights random but fixed."""
    from hyperpyyaml import load_hyperpyyaml

    torch.manual_seed(1)
    parts = load_hyperpyyaml(description)
    names = ("features", "normalization", "encoder")
    return EmbeddingModel(*(parts[name] for name in names)).eval()


make_configuration = partial(
    export.make_configuration,
    sample_rate=16000,
    dim=8,
    loadables=[],
    front_end=pathlib.Path("front_end"),
)


# -- what it gives ---------------------------------------------------------


@pytest.mark.slow
def test_speechbrain_alone_gives_the_scores_of_verify(
    exported, trials, tmp_path
):
    rows = [[score, str(a), str(b)] for score, a, b in trials]
    (tmp_path / "trials.json").write_text(json.dumps(rows))
    printed = run_alone(
        f"""
        import json, os, torch, sys
        from speechbrain.dataio import audio_io
        from speechbrain.inference.classifiers import EncoderClassifier
        from speechbrain.inference.speaker import SpeakerRecognition
        before = sorted(os.listdir("."))
        try:
            import ssps_plugin
        except ImportError:
            pass
        else:
            sys.exit("the package is there")
        options = dict(source={str(exported)!r}, run_opts=dict(device="cpu"))
        verifier = SpeakerRecognition.from_hparams(**options)
        embedder = EncoderClassifier.from_hparams(**options)
        worst = dict(files=0.0, batch=0.0, embeddings=0.0, normalize=0.0)
        for score, a, b in json.load(open("trials.json")):
            found = float(verifier.verify_files(a, b)[0])
            worst["files"] = max(worst["files"], abs(found - score))
            wavs = [audio_io.load(one)[0] for one in (a, b)]
            found = float(verifier.verify_batch(*wavs)[0])
            worst["batch"] = max(worst["batch"], abs(found - score))
            pair = [embedder.encode_batch(wav).squeeze() for wav in wavs]
            found = float(torch.cosine_similarity(*pair, dim=0))
            worst["embeddings"] = max(worst["embeddings"], abs(found - score))
            same = embedder.encode_batch(wavs[0], normalize=True).squeeze()
            other = float((same - pair[0]).abs().max())
            worst["normalize"] = max(worst["normalize"], other)
        assert sorted(os.listdir(".")) == before
        print(json.dumps(worst))
        """,
        tmp_path,
    )
    worst = json.loads(printed.splitlines()[-1])
    assert len(rows) == 200
    assert max(worst.values()) < 1e-5, worst


def test_an_export_gives_the_embeddings_and_decisions_of_the_run(
    finished, exported, trials
):
    run = SpeakerEncoder.from_run(finished, device="cpu")
    encoder = SpeakerEncoder.from_export(exported, device="cpu")
    files = [file for _, file, _ in trials[::25]]
    assert torch.equal(encoder.embed(files), run.embed(files))
    assert encoder.threshold == run.threshold
    assert encoder.threshold_source == run.threshold_source
    pair = trials[0][1:]
    assert encoder.compare(*pair) == run.compare(*pair)
    assert encoder.compare(*pair, threshold="eer") == run.compare(
        *pair, threshold="eer"
    )
    assert encoder.details["averaged_epochs"] == 2


def test_weights_are_those_asked_for(finished, tmp_path):
    wavs = torch.randn(2, 16000)
    rows = {row["epoch"]: row for row in history(finished)}
    for weights in ("last", 2):
        folder = export_run(finished, tmp_path / str(weights), weights=weights)
        run = SpeakerEncoder.from_run(finished, weights=weights, device="cpu")
        torch.testing.assert_close(
            plain_embeddings(folder, wavs), run(wavs), rtol=0, atol=1e-5
        )
        card = (folder / "README.md").read_text()
        epoch = 4 if weights == "last" else 2
        assert f"those after epoch {epoch}" in card
        # As training has measured it: there are no other results of it.
        threshold = run.threshold
        assert threshold == rows[epoch]["eer_threshold"]
        assert f"**{threshold:.4f}**" in card and "in training" in card
        assert f"EER after this epoch was {rows[epoch]['eer']:.2f} %" in card


def test_padding_in_a_batch_changes_what_speechbrain_says_it_does_only(
    exported,
):
    wavs = torch.randn(2, 16000)
    lengths = torch.tensor([1.0, 1.0])
    from speechbrain.inference.classifiers import EncoderClassifier

    loaded = EncoderClassifier.from_hparams(
        source=str(exported), run_opts={"device": "cpu"}
    )
    together = loaded.encode_batch(wavs, lengths)
    alone = torch.cat([loaded.encode_batch(wav) for wav in wavs])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    # With padding it is what our model gives for the same lengths.
    lengths = torch.tensor([1.0, 0.6])
    encoder = SpeakerEncoder.from_export(exported, device="cpu")
    torch.testing.assert_close(
        loaded.encode_batch(wavs, lengths).squeeze(1),
        encoder(wavs, lengths),
        rtol=0,
        atol=1e-5,
    )


def test_dino_exports_its_teacher_and_its_window(finished, tmp_path):
    """With the windows of dino.yaml, which SpeechBrain's Fbank has none of."""
    output = tmp_path / "run"
    (output / "save").mkdir(parents=True)
    text = (finished / "hyperparams.yaml").read_text()
    features = "features: !new:ssps_plugin.frameworks.Fbank"
    assert text.count(features) == 1
    text = text.replace(
        features, f"{features}\n  window: !name:torch.hann_window"
    )
    text, number = re.subn(
        r"(framework:) !new:\S+\n  embedding_model: (.+)"
        r"\n  projector:.*\n  views_together:.*",
        r"\1 !new:ssps_plugin.frameworks.DINO"
        r"\n  embedding_model: \2"
        r"\n  head: !new:torch.nn.Linear [8, 4]"
        r"\n  momentum: !new:ssps_plugin.frameworks.MomentumSchedule [0.5]",
        text,
    )
    assert number == 1
    (output / "hyperparams.yaml").write_text(text)
    from speechbrain.utils.epoch_loop import EpochCounter

    from ssps_plugin.training.configuration import Configuration

    path = output / "hyperparams.yaml"
    framework = Configuration(path, None, {}).load(["framework"])["framework"]
    assert isinstance(framework, DINO)
    with torch.no_grad():
        for parameter in framework.teacher_model.parameters():
            parameter.mul_(1.5)
    parts = {"framework": framework, "epoch_counter": EpochCounter(3)}
    AtomicCheckpointer(output / "save", parts).save_checkpoint()
    wavs = torch.randn(2, 16000)
    framework.eval()
    expected = framework.teacher_model(wavs)
    assert not torch.allclose(framework.embedding_model(wavs), expected)
    folder = export_run(output, tmp_path / "export")
    assert "hann_window" in (folder / "hyperparams.yaml").read_text()
    for found in (
        plain_embeddings(folder, wavs),
        SpeakerEncoder.from_export(folder, device="cpu")(wavs),
        SpeakerEncoder.from_run(output, device="cpu")(wavs),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    [
        """\
encoder: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: 24
    tdnn_channels: [16, 16, 16, 16, 24]
    lin_neurons: 8
""",
        """\
encoder: !new:speechbrain.lobes.models.ResNet.ResNet
    input_size: 24
    channels: [8, 8, 8, 8]
    block_sizes: [1, 1, 1, 1]
    strides: [1, 2, 2, 2]
    lin_neurons: 8
""",
    ],
)
def test_other_encoders_of_speechbrain_export_too(encoder, tmp_path):
    description = BANKS + NORMALISED + encoder
    model = make_model(description)
    folder = export.write_export(tmp_path / "export", model, description, {})
    wavs = torch.randn(2, 16000)
    found = []
    loaded = SpeakerEncoder.from_export(folder, device="cpu")
    for embed in (model, loaded, partial(plain_embeddings, folder)):
        torch.manual_seed(2)  # x-vectors' pooling adds noise
        found.append(embed(wavs))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=0, atol=1e-4)


def test_statistics_of_a_global_normalisation_and_trained_banks_are_exported(
    tmp_path,
):
    description = (
        "features: !new:speechbrain.lobes.features.Leaf\n"
        "    {out_channels: 24, in_channels: 1, skip_transpose: False}\n"
        + NORMALISED.replace("sentence", "global")
        + "encoder: !new:speechbrain.lobes.models.Xvector.Xvector\n"
        "    in_channels: 24\n    tdnn_channels: [8, 8, 8, 8, 8]\n"
        "    lin_neurons: 4\n"
    )
    model = make_model(description)
    with torch.no_grad():
        for parameter in model.features.parameters():
            parameter.mul_(1.1)
        model.normalization.train()
        model(torch.randn(3, 16000))
        model.eval()
    folder = export.write_export(tmp_path / "export", model, description, {})
    names = {path.stem for path in folder.glob("*.ckpt")}
    assert {"compute_features", "mean_var_norm"} <= names
    wavs = torch.randn(2, 16000)
    found = []
    loaded = SpeakerEncoder.from_export(folder, device="cpu")
    for embed in (model, loaded, partial(plain_embeddings, folder)):
        torch.manual_seed(2)  # x-vectors' pooling adds noise
        found.append(embed(wavs))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], rtol=0, atol=1e-4)


def test_a_pretrained_front_end_goes_along(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    tiny = transformers.Wav2Vec2Config(
        hidden_size=16,
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
    source = tmp_path / "ssl"
    transformers.Wav2Vec2Model(tiny).save_pretrained(source)
    description = (
        "features: !new:speechbrain.integrations.huggingface.weighted_ssl."
        f"WeightedSSLModel\n    hub: {source}\n    save_path: {tmp_path}\n"
        "    freeze: True\n"
        + NORMALISED
        + "encoder: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN\n"
        "    input_size: 16\n    channels: [8, 8, 8, 8, 24]\n"
        "    attention_channels: 8\n    lin_neurons: 8\n"
    )
    model = make_model(description)
    with torch.no_grad():
        model.features.weights.add_(torch.tensor([0.0, 1.0, 2.0]))
    there = tmp_path / "there" / "export"
    export.write_export(there, model, description, {})
    wavs = torch.randn(2, 16000)
    expected = model(wavs)
    found = plain_embeddings(there, wavs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert str(tmp_path) + "\n" not in (there / "hyperparams.yaml").read_text()
    moved = there.rename(tmp_path / "moved")
    shutil.rmtree(source)
    found = SpeakerEncoder.from_export(moved, device="cpu")(wavs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert "overrides" in (moved / "README.md").read_text()


# -- what it refuses -------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (BANKS.replace("Fbank", "Sinc"), "ssps_plugin.frameworks.Sinc"),
        ("encoder: !new:my.own.Encoder\n", "my.own.Encoder"),
        (
            "encoder: !new:torch.nn.Sequential\n  - !new:my.Layer\n    n: 1\n",
            "my.Layer as encoder",
        ),
    ],
)
def test_a_part_that_speechbrain_cannot_build_is_named(part, name):
    parts = {"features": BANKS, "normalization": NORMALISED}
    parts["encoder"] = "encoder: !new:torch.nn.Identity\n"
    parts[part.partition(":")[0]] = part
    with pytest.raises(ValueError, match=f"got {re.escape(name)}"):
        make_configuration("".join(parts.values()))


def test_a_missing_part_is_named():
    with pytest.raises(ValueError, match="got none for normalization, encoder"):
        make_configuration(BANKS)


def test_a_folder_that_is_there_is_not_written_over(
    finished, exported, tmp_path
):
    before = {p.name: p.read_bytes() for p in exported.iterdir()}
    with pytest.raises(FileExistsError, match="where an export is already"):
        export_run(finished, exported)
    assert before == {p.name: p.read_bytes() for p in exported.iterdir()}
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"no export .* \(thesis\.tex\)"):
        export_run(finished, tmp_path, overwrite=True)
    with pytest.raises(FileExistsError, match="which is a file"):
        export_run(finished, tmp_path / "thesis.tex")
    with pytest.raises(FileExistsError, match="no export"):
        export_run(finished, finished, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwriting_replaces_an_export_and_keeps_what_is_ones_own(
    finished, tmp_path
):
    folder = tmp_path / "export"
    folder.mkdir()  # an empty one is as good as none
    export_run(finished, folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "encoder.onnx").write_bytes(b"of the weights before")
    os.truncate(folder / "embedding_model.ckpt", 10)
    export_run(finished, folder, weights="last", overwrite=True)
    assert SpeakerEncoder.from_export(folder).details["weights"] == "last"
    assert (folder / ".git" / "HEAD").read_text() == "ref"
    assert not (folder / "encoder.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("name", ["write_card", "_check_same_embeddings"])
def test_an_export_that_fails_leaves_nothing_or_what_was_there(
    name, finished, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(28, "No space left on device")

    there = export_run(finished, tmp_path / "there")
    before = {p.name: p.read_bytes() for p in there.iterdir()}
    monkeypatch.setattr(export, name, fail)
    with pytest.raises(OSError, match="No space"):
        export_run(finished, tmp_path / "new")
    with pytest.raises(OSError, match="No space"):
        export_run(finished, there, weights="last", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert before == {p.name: p.read_bytes() for p in there.iterdir()}


def test_an_export_that_gives_other_embeddings_is_refused(
    finished, tmp_path, monkeypatch
):
    collect = export._collect_states

    def spoil(model, dim):
        states = collect(model, dim)
        for value in states["embedding_model"].values():
            value.mul_(2)
        return states

    monkeypatch.setattr(export, "_collect_states", spoil)
    with pytest.raises(RuntimeError, match="Nothing was exported"):
        export_run(finished, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_an_export_names_no_folder_of_this_machine(finished, exported, corpus):
    for path in exported.glob("*"):
        if path.suffix != ".ckpt":
            text = path.read_text()
            for folder in (finished, corpus, pathlib.Path.cwd()):
                assert str(folder) not in text, path.name


def test_damaged_details_are_an_error(finished, tmp_path):
    folder = export_run(finished, tmp_path / "export")
    (folder / "speaker_encoder.json").write_text("{")
    with pytest.raises(ValueError, match="the file is damaged, export again"):
        SpeakerEncoder.from_export(folder)
    (folder / "speaker_encoder.json").unlink()  # as of another's model
    encoder = SpeakerEncoder.from_export(folder, device="cpu")
    assert encoder.threshold is None and encoder.sample_rate == 16000


# -- the card --------------------------------------------------------------


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_is_what_hubs_read(finished, exported):
    card = (exported / "README.md").read_text()
    fields = front_matter(card)
    assert fields["library_name"] == "speechbrain"
    assert {"speaker-verification", "simclr", "ssps"} <= set(fields["tags"])
    assert fields["license"] == "unknown"
    (model,) = fields["model-index"]
    (entry,) = model["results"]
    results = json.loads((finished / "results.json").read_text())
    values = {one["name"]: one["value"] for one in entry["metrics"]}
    assert values["EER (%)"] == round(results["eer_percent"], 4)
    assert values["minDCF (p_target 0.01)"] == round(results["min_dcf_p01"], 4)
    assert entry["dataset"]["name"] == "trials.txt"
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card).data
    assert read.eval_results[0].metric_value == values["EER (%)"]


def test_the_card_names_the_draws_and_only_what_they_use(exported, tmp_path):
    card = (exported / "README.md").read_text()
    assert "| draws | `ClusteringSampling` |" in card
    assert "`num_clusters`" in card and "`queue_size`" in card
    details = json.loads((exported / "speaker_encoder.json").read_text())
    details["strategy"] = "SharedNeighborSampling"
    details["settings"]["pseudo_positives"] = "read"
    write_card(tmp_path / "README.md", details)
    card = (tmp_path / "README.md").read_text()
    assert "| draws | `SharedNeighborSampling` |" in card
    assert "`pseudo_positives`) | read" in card
    assert "`num_clusters`" not in card and "`queue_size`" not in card


@pytest.mark.parametrize("num_guides", [1, 2])
def test_the_card_says_that_another_encoder_told_utterances_apart(
    num_guides, finished, exported, tmp_path
):
    said = "with SSPS (drawn in the space of another encoder)"
    assert said not in (exported / "README.md").read_text()
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "hyperparams.yaml"
    text, key = path.read_text(), "reference_encoder:"
    guides = [str(tmp_path / "somewhere" / name) for name in "ab"]
    guides = guides[0] if num_guides == 1 else guides
    path.write_text(text.replace(key, f"{key} {json.dumps(guides)}  #"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    results["reference_encoder"] = guides
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    export_run(tmp_path / "run", tmp_path / "model")
    for file in ("README.md", "speaker_encoder.json"):
        assert "somewhere" not in (tmp_path / "model" / file).read_text()
    assert said in (tmp_path / "model" / "README.md").read_text()


def test_the_card_says_that_noise_and_rooms_were_made(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    saved = (tmp_path / "run" / "hyperparams.yaml").read_text()
    for key, word in (("noise", "synthetic"), ("rir", "simulated")):
        saved = saved.replace(f"{key}_folder:", f"{key}_folder: {word}  #")
    (tmp_path / "run" / "hyperparams.yaml").write_text(saved)
    export_run(tmp_path / "run", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    made = "synthetic noise and babble of the corpus and simulated rooms"
    assert f"| augmentation | {made} |" in card


def test_the_card_says_which_threshold_and_what_it_costs(
    finished, exported, trials
):
    card = (exported / "README.md").read_text()
    results = json.loads((finished / "results.json").read_text())
    threshold = results["threshold"]
    assert f"**{threshold:.4f}**" in card and f">= {threshold:.4f}" in card
    assert "fixed threshold of 0.25" in card
    labels = [
        int(line.split()[0])
        for line in (finished / "trials.txt").read_text().splitlines()
    ]
    accepted = [score >= threshold for score, *_ in trials]
    for label, word in ((0, "false_acceptance"), (1, "false_rejection")):
        those = [
            a for a, one in zip(accepted, labels, strict=True) if one == label
        ]
        rate = sum(those) / len(those)
        rate = 1 - rate if label else rate
        details = json.loads((exported / "speaker_encoder.json").read_text())
        found = details["results"]["rates"]["false_acceptance"][word]
        assert found == pytest.approx(rate, abs=1e-9)
        assert f"{100 * rate:.2f} %" in card


@pytest.mark.slow
def test_the_code_of_the_card_runs_as_it_stands(exported, corpus, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "export")
    files = sorted(corpus.rglob("*.wav"))
    shutil.copy(files[0], folder / "a.wav")
    shutil.copy(files[-1], folder / "b.wav")
    card = (folder / "README.md").read_text()
    plain, own = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    printed = run_alone(plain, folder).split()
    encoder = SpeakerEncoder.from_export(folder, device="cpu")
    expected = encoder.compare(folder / "a.wav", folder / "b.wav")
    assert float(printed[0]) == pytest.approx(expected.score, abs=1e-5)
    assert printed[1] == ("same" if expected.same_speaker else "different")
    (folder / "sitecustomize.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", own + "\nprint(embeddings.shape)"],
        cwd=folder,
        env=own_process_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    score, threshold, same = done.stdout.split()[:3]
    assert float(score) == pytest.approx(expected.score, abs=1e-5)
    assert float(threshold) == encoder.threshold
    assert same == str(expected.same_speaker)
    assert "[2, 8]" in done.stdout


def test_our_features_and_speechbrains_are_the_same_bits():
    """What lets the export name SpeechBrain's class."""
    import speechbrain.lobes.features

    wavs = torch.randn(2, 16000)
    arguments = {"n_mels": 40, "n_fft": 512, "deltas": True, "context": True}
    plain = speechbrain.lobes.features.Fbank(**arguments)
    assert torch.equal(Fbank(**arguments)(wavs), plain(wavs))


def test_files_at_another_rate_score_alike_but_for_the_filter(
    exported, tmp_path
):
    """SpeechBrain converts by a filter of its own."""
    from speechbrain.inference.speaker import SpeakerRecognition

    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        paths.append(str(tmp_path / f"{seed}.wav"))
        soundfile.write(paths[-1], 0.1 * torch.randn(22050).numpy(), 22050)
    verifier = SpeakerRecognition.from_hparams(
        source=str(exported), run_opts={"device": "cpu"}
    )
    plain = float(verifier.verify_files(*paths)[0])
    ours = SpeakerEncoder.from_export(exported, device="cpu").compare(*paths)
    assert plain == pytest.approx(ours.score, abs=1e-3)
