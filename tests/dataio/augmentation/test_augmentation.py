"""Claims about reverberation, noise, and how often they come."""

import pickle

import numpy as np
import pytest
import soundfile
import torch

from ssps_plugin.dataio.augmentation.augmentation import (
    Augmentation,
    add_noise,
    power,
    reverberate,
)


@pytest.fixture
def musan(tmp_path):
    """Constants of one sign each, so that what was added can be told."""
    for category, level in (("noise", 0.1), ("speech", 0.2), ("music", -0.3)):
        folder = tmp_path / "musan" / category / "source"
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.wav", np.full(32000, level), 16000)
    return tmp_path / "musan"


@pytest.fixture
def rirs(tmp_path):
    (tmp_path / "rirs").mkdir()
    response = np.zeros(800)
    response[[100, 300]] = 0.9, 0.45
    stereo = np.stack([response, 0 * response], axis=1)
    soundfile.write(tmp_path / "rirs" / "a.wav", stereo, 16000, subtype="FLOAT")
    return tmp_path / "rirs"


def _speech(num_samples=8000, seed=0):
    """Noise whose mean is 0, so that the sign of what was added shows."""
    generator = torch.Generator().manual_seed(seed)
    speech = torch.randn(num_samples, generator=generator)
    return speech - speech.mean()


def _added_snrs(augment, num_draws=300):
    """Return (ratio in dB, sign) of what each draw added."""
    rng = np.random.default_rng(0)
    added = [augment(_speech(), rng) - _speech() for _ in range(num_draws)]
    return [
        (10 * np.log10(power(_speech()) / power(a)), float(a.mean().sign()))
        for a in added
    ]


def test_without_folders_it_is_the_identity():
    speech = _speech()
    assert torch.equal(Augmentation()(speech, np.random.default_rng(0)), speech)


def test_musans_categories_come_equally_often_at_their_own_ratios(musan):
    measured = _added_snrs(Augmentation(noise_folder=musan))
    music = [snr for snr, sign in measured if sign < 0]
    others = [snr for snr, sign in measured if sign > 0]
    assert 70 < len(music) < 130
    assert 5 - 0.01 < min(music) < 6.5
    assert 13.5 < max(music) < 15.01
    assert -0.01 < min(others) < 1.5
    assert 19 < max(others) < 20.01
    # Between the two other categories' ranges of 0-15 and 13-20 dB.
    assert 0.4 < np.mean([snr > 13 for snr in others]) < 0.75


def test_a_category_that_is_absent_is_not_drawn(musan):
    (musan / "noise" / "source" / "a.wav").unlink()
    (musan / "noise" / "source").rmdir()
    (musan / "noise").rmdir()
    (musan / "speech" / "source" / "a.wav").unlink()
    (musan / "speech" / "source").rmdir()
    (musan / "speech").rmdir()
    measured = _added_snrs(Augmentation(noise_folder=musan), 50)
    assert {sign for _, sign in measured} == {-1.0}


def test_any_other_folder_is_noise_at_0_to_15_db(musan):
    augment = Augmentation(noise_folder=musan / "music")
    snrs = [snr for snr, _ in _added_snrs(augment)]
    assert -0.01 < min(snrs) < 1.0
    assert 14.0 < max(snrs) < 15.01


def test_the_ratios_can_be_chosen(musan):
    augment = Augmentation(musan, snr_db={"music": [3.0, 3.0]})
    assert [snr for snr, _ in _added_snrs(augment, 5)] == pytest.approx(
        [3.0] * 5, abs=1e-2
    )


def test_reverberation_adds_the_echo_and_takes_no_time(rirs):
    impulse = torch.zeros(8000)
    impulse[1000] = 1.0
    wet = Augmentation(rir_folder=rirs)(impulse, np.random.default_rng(0))
    assert wet.nonzero().numel()
    assert int(wet.argmax()) == 1000
    assert wet[1200] / wet[1000] == pytest.approx(0.5, abs=1e-4)


def test_reverberation_comes_before_noise(musan, rirs):
    augment = Augmentation(musan, rirs, snr_db={"noise": [10.0, 10.0]})
    reverb_only = Augmentation(rir_folder=rirs)
    wet = reverb_only(_speech(), np.random.default_rng(0))
    noise = augment(_speech(), np.random.default_rng(0)) - wet
    assert noise.std() < 1e-3
    assert noise.mean() > 0.1


def test_dinos_four_outcomes_come_equally_often(musan, rirs):
    augment = Augmentation(
        musan / "noise", rirs, reverb_probability=0.5, noise_probability=0.5
    )
    rng = np.random.default_rng(0)
    wet = Augmentation(rir_folder=rirs)(_speech(), rng)
    counts = {}
    for _ in range(400):
        out = augment(_speech(), rng)
        noisy = bool(out.mean().abs() > 0.05)
        reverberant = torch.allclose(
            (out - out.mean()), wet - wet.mean(), atol=1e-3
        )
        key = (noisy, reverberant)
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 4
    assert min(counts.values()) > 70


def test_the_generator_alone_decides_also_in_a_worker(musan, rirs):
    augment = Augmentation(musan, rirs)
    copied = pickle.loads(pickle.dumps(augment))
    first = augment(_speech(), np.random.default_rng(5))
    second = copied(_speech(), np.random.default_rng(5))
    other = augment(_speech(), np.random.default_rng(6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_only_the_stretch_that_is_added_is_read(musan, count_reads):
    augment = Augmentation(noise_folder=musan)
    count_reads.clear()
    augment(_speech(), np.random.default_rng(0))
    assert [frames for _, frames in count_reads] == [8000]


def test_wrong_folders_and_numbers_are_errors_that_name_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="change noise_folder"):
        Augmentation(noise_folder=tmp_path / "absent")
    with pytest.raises(ValueError, match="change rir_folder"):
        Augmentation(rir_folder=tmp_path)
    with pytest.raises(ValueError, match="change noise_probability"):
        Augmentation(noise_probability=1.5)
    with pytest.raises(ValueError, match="change snr_db"):
        Augmentation(snr_db={"noise": [15, 0]})


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
    silence, speech = torch.zeros(8000), _speech()
    assert reverberate(silence, speech).eq(0).all()
    assert torch.equal(reverberate(speech, torch.zeros(10)), speech)
    assert torch.equal(add_noise(speech, silence, 5.0), speech)
    assert add_noise(silence, speech, 5.0).eq(0).all()


def test_the_input_is_left_as_it_is():
    speech = _speech()
    reverberate(speech, _speech(100, seed=1))
    add_noise(speech, _speech(seed=2), 0.0)
    assert torch.equal(speech, _speech())


def test_what_is_scaled_as_32_bit_integers_is_reverberated_as_well():
    rng = torch.Generator().manual_seed(0)
    samples = torch.randn(16000, generator=rng)
    response = torch.randn(4000, generator=rng).sign()
    expected = reverberate(samples, response)
    scaled = reverberate(samples * 2.0**29, response * 2.0**31)
    assert torch.allclose(scaled / 2.0**29, expected, atol=1e-3)


def test_an_absurd_sample_of_noise_or_response_is_taken_as_0(tmp_path):
    noise = np.full(16000, 0.1, np.float32)
    response = np.zeros(100, np.float32)
    response[0] = 1.0
    results = []
    for absurd in (0.0, 1e30, np.nan):
        folder = tmp_path / str(absurd)
        noise[50] = response[50] = absurd
        for name, content in (("noise", noise), ("rirs", response)):
            (folder / name).mkdir(parents=True)
            path = folder / name / "a.wav"
            soundfile.write(path, content, 16000, subtype="FLOAT")
        augment = Augmentation(folder / "noise", folder / "rirs")
        rng = np.random.default_rng(0)
        results.append(augment(torch.linspace(-1, 1, 16000), rng))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
