"""Filter banks against SpeechBrain's."""

import pytest
import speechbrain.lobes.features
import torch

from ssps_plugin.frameworks.features import Fbank


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_fft": 512, "n_mels": 80},
        {"n_fft": 512, "win_length": 20, "hop_length": 5},
        {"deltas": True},
        {"deltas": True, "context": True},
    ],
    ids=str,
)
def test_features_are_speechbrains_bit_for_bit(options):
    wavs = torch.randn(3, 8000) * torch.tensor([[1.0], [1e-4], [0.0]])
    expected = speechbrain.lobes.features.Fbank(**options)(wavs)
    assert torch.equal(Fbank(**options)(wavs), expected)


def test_autocast_changes_nothing():
    wavs = torch.randn(2, 8000)
    with torch.autocast("cpu", torch.bfloat16):
        features = Fbank()(wavs)
    assert torch.equal(features, Fbank()(wavs))


def test_the_window_is_used():
    features = Fbank(torch.hann_window, n_fft=512, n_mels=80)
    expected = torch.hann_window(400)
    assert torch.equal(features.compute_STFT.window, expected)
    ours = features(torch.ones(1, 8000))
    hamming = Fbank(n_fft=512, n_mels=80)(torch.ones(1, 8000))
    assert not torch.equal(ours, hamming)


def test_filters_that_are_learnt_or_shaken_are_speechbrains():
    wavs = torch.randn(2, 8000)
    learnt = Fbank(requires_grad=True)
    expected = speechbrain.lobes.features.Fbank(requires_grad=True)
    assert [name for name, _ in learnt.named_parameters()]
    assert torch.equal(learnt(wavs), expected(wavs))
    shaken = Fbank(param_rand_factor=0.1)
    assert not torch.equal(shaken(wavs), shaken(wavs))


def test_window_and_filters_move_with_the_module_and_are_no_weights():
    features = Fbank()
    theirs = speechbrain.lobes.features.Fbank()
    assert features.state_dict().keys() == theirs.state_dict().keys()
    features.to("meta")
    assert all(one.device.type == "meta" for one in features.buffers())
    assert {"compute_STFT.window", "compute_fbanks.matrix"} < {
        name for name, _ in features.named_buffers()
    }
