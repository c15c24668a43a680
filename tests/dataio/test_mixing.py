import numpy as np
import pytest
import torch

from ssps_plugin.dataio.mixing import add_noise, power, reverberate


def _speech(num_samples=4000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, generator=generator)


def test_reverberation_is_the_convolution_from_the_direct_path_on():
    speech, response = _speech(500), torch.zeros(200)
    response[20:] = _speech(180, seed=1) * 0.1
    response[37] = 1.0
    wet = np.convolve(speech.numpy(), response.numpy())[37:537]
    wet *= np.sqrt(np.mean(speech.numpy() ** 2) / np.mean(wet**2))
    assert np.allclose(reverberate(speech, response).numpy(), wet, atol=1e-5)


@pytest.mark.parametrize("peak", [1.0, -0.3])
def test_a_response_of_one_late_peak_changes_nothing_but_the_sign(peak):
    response = torch.zeros(1000)
    response[777] = peak
    wet = reverberate(_speech(), response)
    expected = _speech() * np.sign(peak)
    assert torch.allclose(wet, expected, atol=1e-5)


def test_reverberation_keeps_length_and_power():
    speech = _speech()
    response = _speech(9000, seed=1) * torch.exp(-torch.arange(9000) / 500)
    wet = reverberate(speech, response)
    assert len(wet) == len(speech)
    assert power(wet) == pytest.approx(power(speech), rel=1e-4)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 13.7, 20.0])
def test_noise_is_added_at_the_ratio_that_was_asked_for(snr_db):
    speech, noise = 3 * _speech(), 0.01 * _speech(seed=1)
    added = add_noise(speech, noise, snr_db) - speech
    measured = 10 * np.log10(power(speech) / power(added))
    assert measured == pytest.approx(snr_db, abs=1e-2)


def test_silence_makes_no_nan():
    silence, speech = torch.zeros(4000), _speech()
    assert reverberate(silence, speech).eq(0).all()
    assert torch.equal(reverberate(speech, torch.zeros(10)), speech)
    assert torch.equal(add_noise(speech, silence, 5.0), speech)
    assert add_noise(silence, speech, 5.0).eq(0).all()


def test_the_input_is_left_as_it_is():
    speech = _speech()
    reverberate(speech, _speech(100, seed=1))
    add_noise(speech, _speech(seed=2), 0.0)
    assert torch.equal(speech, _speech())
