"""The published front end, against numpy and against torchaudio."""

import numpy as np
import pytest
import torch
import torchaudio
from torch import nn

from ssps_plugin.frameworks import (
    Fbank,
    InstanceNormalization,
    LogMelSpectrogram,
)


def hz_of(mel):
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def described(samples, num_mels, rate=16000):
    """The published description in numpy, frame by frame, in float64.

    512 points, a Hamming window of 400 samples (periodic) in the middle, every
    160 samples, ends reflected; triangular filters, corners evenly spaced on
    HTK's mel scale from 0 to 8 000 Hz; ln(power + 1e-6).
    """
    samples = np.asarray(samples, dtype=np.float64)
    padded = np.concatenate([samples[256:0:-1], samples, samples[-2:-258:-1]])
    window = np.zeros(512)
    turns = np.arange(400) / 400
    window[56:456] = 0.54 - 0.46 * np.cos(2 * np.pi * turns)
    top = 2595.0 * np.log10(1 + rate / 2 / 700.0)
    corners = hz_of(np.linspace(0, top, num_mels + 2))
    frequencies = np.arange(257) * rate / 512
    frames = []
    for number in range(len(samples) // 160 + 1):
        cut = padded[160 * number : 160 * number + 512] * window
        power = np.abs(np.fft.rfft(cut)) ** 2
        row = []
        for low, middle, high in zip(
            corners, corners[1:], corners[2:], strict=False
        ):
            rising = (frequencies - low) / (middle - low)
            falling = (high - frequencies) / (high - middle)
            row.append(power @ np.clip(np.minimum(rising, falling), 0, None))
        frames.append(np.log(np.array(row) + 1e-6))
    return np.stack(frames)


def clip(num_samples=8000, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16000
    tone = np.sin(2 * np.pi * 220 * time * (1 + 0.2 * time))
    return 0.3 * tone + 0.01 * rng.standard_normal(num_samples)


@pytest.mark.parametrize("num_mels", [40, 80])
@pytest.mark.parametrize("num_samples", [8000, 4813])
def test_features_are_the_published_description(num_mels, num_samples):
    samples = clip(num_samples)
    wav = torch.tensor(samples, dtype=torch.float32)[None]
    found = LogMelSpectrogram(n_mels=num_mels)(wav)[0].double().numpy()
    expected = described(samples, num_mels)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-3
    assert np.sqrt(np.mean((found - expected) ** 2)) < 1e-4


def test_features_are_torchaudios_bit_for_bit():
    wav = torch.tensor(clip(), dtype=torch.float32)[None]
    mel = torchaudio.transforms.MelSpectrogram(
        16000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        window_fn=torch.hamming_window,
        n_mels=40,
    )
    expected = (mel(wav) + 1e-6).log().transpose(1, 2)
    assert torch.equal(LogMelSpectrogram(n_mels=40)(wav), expected)


def test_it_is_the_ends_of_a_clip_that_differ_most_from_speechbrains():
    wav = torch.tensor(clip(), dtype=torch.float32)[None]
    normalise = InstanceNormalization()
    ours = normalise(LogMelSpectrogram(n_mels=40)(wav))
    theirs = normalise(Fbank(n_fft=512, n_mels=40)(wav))
    difference = (ours - theirs).square().mean((0, 2)).sqrt()
    inside = difference[3:-3].mean()
    assert difference[0] > 3 * inside and difference[-1] > 3 * inside


def test_settings_are_no_weights_and_follow_the_device():
    features = LogMelSpectrogram()
    assert not features.state_dict()
    assert not list(features.parameters())
    assert features.double().window.dtype == torch.float64


def test_a_clip_too_short_to_reflect_is_refused():
    with pytest.raises(ValueError, match="at least 257 samples.*got 256"):
        LogMelSpectrogram()(torch.zeros(1, 256))
    assert LogMelSpectrogram()(torch.zeros(1, 257)).shape == (1, 2, 40)


def test_a_window_longer_than_the_transform_is_refused():
    with pytest.raises(ValueError, match="n_fft of at least 400"):
        LogMelSpectrogram(n_fft=256)


def test_normalisation_is_torchs_instance_norm():
    x = 5 + 3 * torch.randn(3, 50, 7)
    expected = nn.InstanceNorm1d(7)(x.transpose(1, 2)).transpose(1, 2)
    for lengths in (None, torch.ones(3)):
        found = InstanceNormalization()(x, lengths)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_padding_does_not_count():
    x = torch.randn(2, 50, 7)
    alone = InstanceNormalization()(x[1:, :20])
    x[1, 20:] = 100.0
    found = InstanceNormalization()(x, torch.tensor([1.0, 0.4]))
    torch.testing.assert_close(found[1:, :20], alone)


def test_the_mean_alone_may_be_subtracted():
    x = 5 + 3 * torch.randn(2, 50, 7)
    found = InstanceNormalization(std_norm=False)(x)
    torch.testing.assert_close(found, x - x.mean(1, keepdim=True))
