"""Claims about a trained encoder that embeds and compares."""

import json
import os
import pathlib
import random
import shutil

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F

import ssps_plugin
from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.resampling import resample
from ssps_plugin.pretrained import SpeakerEncoder, speaker_encoder
from ssps_plugin.training.configuration import Configuration
from ssps_plugin.training.snapshots import Snapshots
from tests.recipes.running import history, recipe

RATE = 16000


@pytest.fixture(scope="module")
def encoder(finished):
    return SpeakerEncoder.from_run(finished, device="cpu")


def files_in(folder):
    """Every file with its content, and every folder.

    The log is still open in this process, which has trained the run.
    """
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(folder).rglob("*")
        if path.name != "log.txt"
    }


def speech(seconds, rate=RATE, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(
        round(seconds * rate)
    ).astype(np.float32)


def scores_of(encoder, trials):
    files = sorted({file for _, *pair in trials for file in pair})
    table = F.normalize(encoder.embed(files), dim=1)
    row = {file: table[number] for number, file in enumerate(files)}
    return torch.stack([row[a] @ row[b] for _, a, b in trials])


# -- loading ---------------------------------------------------------------


def test_scores_are_those_that_training_and_verify_have_written(
    encoder, finished, trials
):
    written = torch.tensor([score for score, *_ in trials])
    assert len(trials) == 200 and written.std() > 1e-3
    found = scores_of(encoder, trials)
    assert (found - written).abs().max() < 1e-5
    recipe("verify").main([str(finished / "hyperparams.yaml")])
    again = (finished / "verify/trials/scores.txt").read_text().splitlines()
    verified = torch.tensor([float(line.split()[0]) for line in again])
    assert (found - verified).abs().max() < 1e-5


def test_loading_leaves_no_trace(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files_in(finished)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.random.get_rng_state()
    SpeakerEncoder.from_run(finished, device="cpu")
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert files_in(finished) == before
    assert not list(tmp_path.iterdir())


def test_a_run_that_moved_loads_from_a_relative_path_without_corpus_and_noise(
    copied, encoder, monkeypatch, tmp_path
):
    saved = (copied / "hyperparams.yaml").read_text()
    for key in ("noise_folder", "data_folder"):
        saved = saved.replace(f"{key}:", f"{key}: /nowhere/noise  #")
    (copied / "hyperparams.yaml").write_text(saved)
    monkeypatch.chdir(copied.parent)
    moved = SpeakerEncoder.from_run(copied.name, device="cpu")
    wav = torch.from_numpy(speech(1))
    assert torch.equal(moved.embed(wav), encoder.embed(wav))


def test_only_what_the_model_refers_to_is_built(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "size: 2\n"
        "side: !apply:os.remove [/nowhere/at/all]\n"
        "layer: !new:torch.nn.Linear\n"
        "    in_features: !ref <size>\n    out_features: !ref <sizes[out]>\n"
        "sizes: {out: 3}\n"
        "framework: !new:torch.nn.Sequential\n    - !ref <layer>\n"
    )
    loaded = Configuration(path, None, {}).load(keys=["framework"])
    assert loaded.keys() == {"size", "sizes", "layer", "framework"}
    assert loaded["framework"][0].out_features == 3


def test_weights_are_those_asked_for(finished):
    rows = [row for row in history(finished) if "eer" in row]
    best = min(rows, key=lambda row: row["eer"])["epoch"]
    snapshots = Snapshots(finished / "snapshots", 2)
    states = {}
    for weights in ("averaged", "best", "last", 2, "4"):
        one = SpeakerEncoder.from_run(finished, weights=weights, device="cpu")
        states[weights] = one.embedding_model.state_dict()
    expected = SpeakerEncoder.from_run(finished, device="cpu").embedding_model
    for weights, epoch in (("best", best), ("last", 4), (2, 2), ("4", 4)):
        snapshots.load_into(expected, epoch)
        for name, value in expected.state_dict().items():
            assert torch.equal(states[weights][name], value), (weights, name)
    name = "encoder.fc.conv.weight"
    snapshots.load_into(expected, 3)
    mean = (expected.state_dict()[name] + states["last"][name]) / 2
    torch.testing.assert_close(states["averaged"][name], mean)


@pytest.mark.parametrize("weights", ["newest", "", -1, True, 1.5, None])
def test_a_wrong_name_of_weights_is_an_error_that_says_what_is_kept(
    weights, finished
):
    kept = Snapshots(finished / "snapshots", 2).epochs()
    listed = ", ".join(map(str, kept))
    with pytest.raises((ValueError, FileNotFoundError), match=listed):
        SpeakerEncoder.from_run(finished, weights=weights)


def test_an_epoch_that_was_not_kept_is_an_error_that_says_which_were(finished):
    with pytest.raises(FileNotFoundError, match=r"epoch 77 .* epochs: 2, "):
        SpeakerEncoder.from_run(finished, weights=77)


def test_a_folder_without_a_run_is_an_error_that_names_one_near_by(
    finished, exported, tmp_path
):
    with pytest.raises(FileNotFoundError, match=f"Give {finished}"):
        SpeakerEncoder.from_run(finished.parent)
    with pytest.raises(FileNotFoundError, match=f"Give {finished}"):
        SpeakerEncoder.from_run(finished / "save")
    with pytest.raises(FileNotFoundError, match="which is not there"):
        SpeakerEncoder.from_run(tmp_path / "gone")
    with pytest.raises(ValueError, match="from_export"):
        SpeakerEncoder.from_run(exported)
    with pytest.raises(ValueError, match="from_run"):
        SpeakerEncoder.from_export(finished)
    with pytest.raises(FileNotFoundError, match="which is not there"):
        SpeakerEncoder.from_export(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"without .*\.ckpt"):
        SpeakerEncoder.from_export(tmp_path)


def test_a_run_without_a_finished_checkpoint_is_an_error(copied):
    for checkpoint in (copied / "save").iterdir():
        meta = checkpoint / "CKPT.yaml"
        meta.rename(checkpoint / "CKPT.yaml.unfinished")
    with pytest.raises(FileNotFoundError, match="until an epoch has ended"):
        SpeakerEncoder.from_run(copied)
    shutil.rmtree(copied / "save")
    with pytest.raises(FileNotFoundError, match="until an epoch has ended"):
        SpeakerEncoder.from_run(copied)
    assert not (copied / "save").exists()


def test_a_configuration_without_a_framework_is_an_error(copied):
    (copied / "hyperparams.yaml").write_text("seed: 1\n")
    with pytest.raises(ValueError, match="the key framework .* no such key"):
        SpeakerEncoder.from_run(copied)


def test_a_device_that_is_not_there_is_an_error(finished):
    for device in ("cuda:77", "abacus"):
        with pytest.raises(RuntimeError, match=f"got {device}"):
            SpeakerEncoder.from_run(finished, device=device)


def test_the_encoder_is_a_module_in_eval_mode_without_gradient(encoder):
    assert ssps_plugin.SpeakerEncoder is SpeakerEncoder
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.embedding_dim == 8 and encoder.sample_rate == RATE


# -- embedding -------------------------------------------------------------


def test_an_embedding_does_not_depend_on_what_else_is_embedded(encoder):
    lengths = (0.1, 0.5, 0.5, 0.50005, 0.507, 1.3, 2.0, 0.5)
    wavs = [torch.from_numpy(speech(s, seed=n)) for n, s in enumerate(lengths)]
    together = encoder.embed(wavs)
    alone = torch.cat([encoder.embed(wav) for wav in wavs])
    by_model = torch.cat([encoder.embedding_model(w[None]) for w in wavs])
    assert together.shape == (8, 8)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, by_model, rtol=0, atol=1e-5)


def test_files_and_waveforms_of_any_rate_and_channels_give_the_same(
    encoder, tmp_path
):
    for rate in (8000, 22050, RATE, 44100):
        wave = speech(0.7, rate, seed=rate)
        stereo = np.stack([wave, -0.5 * wave], axis=1)
        path = tmp_path / f"{rate}.wav"
        soundfile.write(path, stereo, rate, subtype="FLOAT")
        mono = torch.from_numpy(stereo.mean(1))
        by_hand = encoder.embedding_model(resample(mono, rate, RATE)[None])
        from_file = encoder.embed(path)
        from_wave = encoder.embed(mono, sample_rate=rate)
        from_array = encoder.embed([stereo.mean(1)], sample_rate=rate)
        for found in (from_file, from_wave, from_array):
            torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-5)


def test_long_audio_is_embedded_in_pieces_as_verification_does(
    encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(speaker_encoder, "MAX_SECONDS", 1.0)
    wave = torch.from_numpy(speech(2.5))
    path = tmp_path / "long.wav"
    soundfile.write(path, wave.numpy(), RATE, subtype="FLOAT")
    # 40000 / 3 samples each; the last piece, one longer when it is read, is
    # moved back into the file.
    starts = (0, 13333, 26666)
    pieces = [wave[start : start + 13333] for start in starts]
    rows = [encoder.embedding_model(piece[None]) for piece in pieces]
    expected = F.normalize(torch.cat(rows), dim=1).mean(0, keepdim=True)
    for found in (encoder.embed(path), encoder.embed(wave)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_batch_holds_no_more_than_its_seconds(encoder, monkeypatch):
    monkeypatch.setattr(speaker_encoder, "_BATCH_SECONDS", 1.0)
    shapes, embed = [], encoder.embedding_model.forward

    def noting(wavs, lengths=None):
        shapes.append(wavs.shape)
        return embed(wavs, lengths)

    monkeypatch.setattr(encoder.embedding_model, "forward", noting)
    encoder.embed([speech(0.4, seed=n) for n in range(5)] + [speech(3.0)])
    assert sorted(shapes) == [(1, 6400), (1, 48000), (2, 6400), (2, 6400)]


def test_inputs_of_as_many_frames_share_a_batch(encoder, monkeypatch):
    shapes, embed = [], encoder.embedding_model.forward

    def noting(wavs, lengths=None):
        shapes.append(wavs.shape)
        return embed(wavs, lengths)

    wavs = [speech((8000 + n) / RATE, seed=9 + n) for n in (0, 1, 159, 160, -1)]
    alone = torch.cat([encoder.embed(wav) for wav in wavs])
    monkeypatch.setattr(encoder.embedding_model, "forward", noting)
    together = encoder.embed(wavs)
    assert sorted(shapes) == [(1, 7999), (1, 8160), (3, 8159)]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    # Other features may look beyond the last sample.
    monkeypatch.setattr(
        encoder.embedding_model.features.compute_STFT, "pad_mode", "reflect"
    )
    shapes.clear()
    encoder.embed(wavs)
    assert len(shapes) == 5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one file or waveform"),
        (torch.zeros(0), r"at least 0.1 s .* 0.000 s in waveform 0"),
        ([torch.zeros(RATE), torch.zeros(1599)], "0.100 s in waveform 1"),
        (torch.tensor([0.0, float("nan")] * 9000), "9000 of 18000 that are na"),
        (torch.full((RATE,), float("inf")), "nan or infinite in waveform 0"),
        (torch.zeros(2, RATE), r"got \(2, 16000\) as waveform 0.*\.mean\(0\)"),
        (torch.zeros(RATE, dtype=torch.int16), "32768 for int16"),
        ([3], "got int as waveform 0"),
    ],
)
def test_what_cannot_be_embedded_is_an_error(encoder, inputs, message):
    with pytest.raises(ValueError, match=message):
        encoder.embed(inputs)


def test_files_that_cannot_be_embedded_are_named(encoder, tmp_path):
    soundfile.write(tmp_path / "short.wav", speech(0.05), RATE)
    soundfile.write(tmp_path / "empty.wav", speech(0), RATE)
    soundfile.write(tmp_path / "good.wav", speech(0.5), RATE)
    (tmp_path / "text.wav").write_text("no audio")
    good = tmp_path / "good.wav"
    with pytest.raises(ValueError, match=r"0\.050 s in .*short\.wav"):
        encoder.embed([good, tmp_path / "short.wav"])
    for name in ("empty.wav", "text.wav", "gone.wav"):
        with pytest.raises(AudioError, match=f"1 of 2 inputs .*{name}"):
            encoder.embed([good, tmp_path / name])
    with pytest.raises(AudioError, match="1 of 1 inputs .* a folder"):
        encoder.embed(tmp_path)


@pytest.mark.parametrize("rate", [0, -16000, 999, 16000.5])
def test_a_sample_rate_out_of_range_is_an_error(encoder, rate):
    with pytest.raises(ValueError, match="change sample_rate"):
        encoder.embed(torch.zeros(RATE), sample_rate=rate)


# -- comparing -------------------------------------------------------------


def test_the_threshold_is_the_runs_and_says_how_it_was_chosen(
    encoder, finished, trials
):
    results = json.loads((finished / "results.json").read_text())
    assert encoder.threshold == results["threshold"]
    assert encoder.threshold_source == (
        "keeps false acceptances at 5 % on the 200 trials of trials.txt"
    )
    for score, a, b in trials[::20]:
        found = encoder.compare(a, b)
        assert found.score == pytest.approx(score, abs=1e-5)
        assert found.threshold == encoder.threshold
        assert found.same_speaker == (found.score >= results["threshold"])
        assert found.threshold_source == encoder.threshold_source
        by_eer = encoder.compare(a, b, threshold="eer")
        assert by_eer.threshold == results["eer_threshold"]
        assert f"EER {results['eer_percent']:.2f}" in by_eer.threshold_source
    assert encoder.compare(a, b, threshold=-1).same_speaker
    assert not encoder.compare(a, b, threshold=1.1).same_speaker


def test_a_threshold_of_other_weights_or_of_normalised_scores_is_not_taken(
    copied, tmp_path
):
    rows = json.loads((copied / "history.json").read_text())
    last = SpeakerEncoder.from_run(copied, weights="last", device="cpu")
    assert last.threshold == rows[-1]["eer_threshold"]
    assert "the run's own trials, in training" in last.threshold_source
    for row in rows:  # as of a run that was not verified in this epoch
        row.pop("eer", None)
    (copied / "history.json").write_text(json.dumps(rows))
    last = SpeakerEncoder.from_run(copied, weights="last", device="cpu")
    assert last.threshold is None and "other weights" in last.threshold_source
    path = copied / "results.json"
    results = json.loads(path.read_text()) | {"cohort_size": 12}
    path.write_text(json.dumps(results))
    shutil.rmtree(copied / "verify", ignore_errors=True)
    encoder = SpeakerEncoder.from_run(copied, device="cpu")
    assert encoder.threshold is None
    assert "normalised by a cohort" in encoder.threshold_source
    # Those of verify.py, with cosines, are of use.
    other = copied / "verify" / "other"
    other.mkdir(parents=True)
    results |= {"cohort_size": 0, "threshold": 0.125}
    (other / "results.json").write_text(json.dumps(results))
    assert SpeakerEncoder.from_run(copied, device="cpu").threshold == 0.125


def test_a_threshold_asked_for_without_trials_is_an_error(copied):
    shutil.rmtree(copied / "verify", ignore_errors=True)
    os.remove(copied / "results.json")
    encoder = SpeakerEncoder.from_run(copied, device="cpu")
    wave = speech(0.5)
    found = encoder.compare(wave, wave)
    assert (found.threshold, found.same_speaker) == (None, None)
    assert found.score == pytest.approx(1.0, abs=1e-5)
    assert "not verified with trials" in found.threshold_source
    with pytest.raises(ValueError, match=r"threshold eer .*verify\.py"):
        encoder.compare(wave, wave, threshold="eer")
    with pytest.raises(ValueError, match="false_acceptance, eer"):
        encoder.compare(wave, wave, threshold="far")
    with pytest.raises(ValueError, match="finite threshold"):
        encoder.compare(wave, wave, threshold=float("nan"))
