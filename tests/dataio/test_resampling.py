"""Claims about resampling: torchaudio's filter, in little memory."""

import resource
import time

import pytest
import torch
from torchaudio.transforms import Resample

from ssps_plugin.dataio import resampling
from ssps_plugin.dataio.resampling import resample

USUAL_RATES = [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000]


def noise(num_samples):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(num_samples, generator=rng)


@pytest.mark.parametrize("rate", USUAL_RATES)
def test_usual_rates_are_torchaudios_to_the_last_bit(rate):
    samples = noise(rate // 4)
    expected = Resample(rate, 16000)(samples)
    assert torch.equal(resample(samples, rate, 16000), expected)


@pytest.mark.parametrize(
    ("rate", "to_rate"),
    [(44100, 16000), (8000, 16000), (997, 1000), (1000, 997), (1597, 610)],
)
def test_sample_by_sample_it_is_the_same_filter(monkeypatch, rate, to_rate):
    samples = noise(2 * rate + 7)
    exactly = Resample(rate, to_rate, dtype=torch.float64)
    expected = exactly(samples.double()).float()
    monkeypatch.setattr(resampling, "_LARGEST_KERNEL", 0)
    got = resample(samples, rate, to_rate)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < 1e-5


@pytest.mark.parametrize("rate", [11127, 7999, 16001, 44056, 95999, 2**31 - 1])
def test_odd_rates_take_little_memory_and_time(rate):
    samples = noise(min(rate, 100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    resampled = resample(samples, rate, 16000)
    assert time.monotonic() - started < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # KiB; torchaudio's table takes gigabytes
    assert len(resampled) == -(-len(samples) * 16000 // rate)


def test_a_tone_of_an_odd_rate_keeps_its_pitch_to_the_end():
    def tone(rate):
        times = torch.arange(30 * rate, dtype=torch.float64) / rate
        return torch.sin(2 * torch.pi * 440 * times).float()

    difference = resample(tone(11127), 11127, 16000) - tone(16000)
    assert difference[200:-200].abs().max() < 1e-3
