"""Filter banks with another window."""

import torch
from speechbrain.lobes.features import Fbank

from ssps_plugin.features import WindowedFbank


def test_with_a_hamming_window_it_is_speechbrains_own():
    wavs = torch.randn(2, 8000)
    expected = Fbank(n_fft=512, n_mels=80)(wavs)
    features = WindowedFbank(torch.hamming_window, n_mels=80)
    assert torch.equal(features(wavs), expected)


def test_the_window_is_used():
    features = WindowedFbank(torch.hann_window, n_mels=80)
    expected = torch.hann_window(400)
    assert torch.equal(features.compute_STFT.window, expected)
