"""Claims about embedding models without complex numbers and masks."""

import pytest
import torch
from speechbrain.lobes.features import Fbank as SpeechBrainFbank
from speechbrain.processing.features import STFT, InputNormalization
from torch import nn

from ssps_plugin.frameworks import (
    Fbank,
    InstanceNormalization,
    LogMelSpectrogram,
)
from ssps_plugin.pretrained.traceable import (
    FullNormalization,
    TraceableModel,
)
from tests.pretrained.encoders import (
    ENCODERS,
    NUM_MELS,
    MeanEncoder,
    make_model,
    noise,
)

SECONDS = (0.1, 0.3, 1.37, 20)


def traceable_of(features):
    return TraceableModel(make_model(MeanEncoder, features)).features


@pytest.mark.parametrize("pad_mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize(
    "options",
    [
        {"n_fft": 512},
        {"n_fft": 400},
        {"n_fft": 401, "win_length": 20.3},
        {"n_fft": 512, "window_fn": torch.hann_window},
        {"n_fft": 256, "sample_rate": 8000, "normalized_stft": True},
        {"n_fft": 512, "center": False},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_the_convolution_is_the_fourier_transform(options, pad_mode):
    stft = STFT(**{"sample_rate": 16000, "pad_mode": pad_mode, **options})
    convolution = traceable_of(stft)
    for samples in (1600, 4801, 16159, 16160):
        wavs = noise(2, samples / 16000)
        expected = stft(wavs)
        found = convolution(wavs)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_the_convolution_is_a_sum_by_hand():
    stft = STFT(8000, n_fft=8, win_length=1, hop_length=0.5)
    stft.window = torch.arange(8.0)
    wavs = torch.zeros(1, 12)
    wavs[0, 5] = 1  # frame 1 starts at sample 0: place 5 of the window
    frame = traceable_of(stft)(wavs)[0, 1]
    angles = -2 * torch.pi * torch.arange(5) * 5 / 8
    expected = 5 * torch.stack([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(frame, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_gives_the_same_embeddings(name):
    model = make_model(ENCODERS[name])
    traceable = TraceableModel(model)
    for seconds in SECONDS:
        for num in (1, 2, 5) if seconds < 20 else (2,):
            wavs = noise(num, seconds)
            with torch.no_grad():
                expected = model(wavs, torch.ones(num))
            assert (traceable(wavs) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "features",
    [
        lambda: SpeechBrainFbank(n_fft=512, n_mels=NUM_MELS),
        lambda: Fbank(torch.hann_window, n_mels=NUM_MELS),
        lambda: Fbank(n_mels=NUM_MELS, filter_shape="gaussian"),
        lambda: Fbank(n_mels=NUM_MELS // 3, deltas=True),
        lambda: LogMelSpectrogram(n_mels=NUM_MELS),
        lambda: LogMelSpectrogram(n_mels=NUM_MELS, n_fft=401, win_length=20),
        lambda: Fbank(
            n_mels=NUM_MELS // 3, context=True, left_frames=1, right_frames=1
        ),
    ],
)
def test_every_kind_of_features_goes(features):
    model = make_model(MeanEncoder, features())
    traceable = TraceableModel(model)
    wavs = noise(2, 1.37)
    torch.testing.assert_close(
        traceable(wavs), model(wavs), atol=1e-5, rtol=1e-5
    )


def test_the_floor_is_of_each_utterance_not_of_the_batch():
    traceable = TraceableModel(make_model(ENCODERS["ECAPA_TDNN"]))
    loud = noise(1, 1.0)
    quiet = 1e-4 * loud  # 80 dB below: all at the floor of the loud one
    together = traceable(torch.cat([loud, quiet]))
    torch.testing.assert_close(together[:1], traceable(loud))
    torch.testing.assert_close(together[1:], traceable(quiet))
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize("std_norm", [True, False])
@pytest.mark.parametrize("kind", ["sentence", "global"])
def test_normalisation_is_the_same_where_lengths_are_full(kind, std_norm):
    normalization = InputNormalization(norm_type=kind, std_norm=std_norm)
    for _ in range(2):
        normalization(3 + 2 * torch.randn(4, 50, 8), torch.ones(4))
    normalization.eval()
    features = 3 + 2 * torch.randn(2, 40, 8)
    torch.testing.assert_close(
        FullNormalization(normalization)(features),
        normalization(features, torch.ones(2)),
    )


def test_normalisation_over_a_batch_is_refused():
    with pytest.raises(ValueError, match="got norm_type batch: change norm"):
        FullNormalization(InputNormalization(norm_type="batch"))


def test_global_normalisation_without_statistics_is_refused():
    with pytest.raises(ValueError, match="Expected statistics .* got none"):
        FullNormalization(InputNormalization(norm_type="global"))


def test_the_published_front_end_goes():
    model = make_model(
        ENCODERS["ECAPA_TDNN"],
        LogMelSpectrogram(n_mels=NUM_MELS),
        InstanceNormalization(),
    )
    traceable = TraceableModel(model)
    for seconds in SECONDS:
        wavs = noise(2, seconds)
        torch.testing.assert_close(
            traceable(wavs), model(wavs), atol=1e-5, rtol=1e-5
        )


def test_negative_frequencies_are_refused():
    with pytest.raises(ValueError, match="Expected .* with onesided=True"):
        traceable_of(STFT(16000, onesided=False))


def test_the_model_itself_is_not_changed():
    model = make_model(ENCODERS["Xvector"]).train().half()
    kinds = [type(module) for module in model.modules()]
    traceable = TraceableModel(model)
    assert [type(module) for module in model.modules()] == kinds
    assert model.training
    assert all(one.requires_grad for one in model.parameters())
    assert {one.dtype for one in model.parameters()} == {torch.float16}
    assert not traceable.training
    assert {one.dtype for one in traceable.parameters()} == {torch.float32}


def test_other_normalisations_stay_as_they_are():
    class Halve(nn.Module):
        def forward(self, features, lengths):
            return features * 0.5 * lengths[:, None, None]

    model = make_model(MeanEncoder, normalization=Halve())
    wavs = noise(3, 0.5)
    torch.testing.assert_close(
        TraceableModel(model)(wavs), model(wavs), atol=1e-5, rtol=1e-5
    )
