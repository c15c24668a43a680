"""Recording conditions: each part, and all of them together."""

import numpy as np
import pytest

from ssps_plugin.simulation.codecs import Codec, draw_codec
from ssps_plugin.simulation.conditions import (
    Microphone,
    draw_condition,
    draw_microphone,
)
from ssps_plugin.simulation.noise import BackgroundNoise, draw_noise
from ssps_plugin.simulation.rooms import Room, draw_room, reverberate

RATE = 16000


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def speech(rng):
    return rng.standard_normal(RATE) * np.hanning(RATE)


def power_db(waveform, low_hz, high_hz):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies = np.fft.rfftfreq(len(waveform), 1 / RATE)
    band = (frequencies >= low_hz) & (frequencies < high_hz)
    return 10 * np.log10(power[band].mean())


def decay_seconds(response):
    """RT60 by Schroeder's backward integration, from -5 to -25 dB."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0])
    start, end = (int(np.argmax(level < limit)) for limit in (-5, -25))
    return 3 * (end - start) / RATE


def test_room_with_longer_rt60_decays_longer():
    dimensions, place = np.array([5.0, 4.0, 3.0]), np.array([1.0, 1.2, 1.5])
    short, long = (
        decay_seconds(
            Room(dimensions, place, place + 1, rt60).impulse_response(RATE)
        )
        for rt60 in (0.15, 0.6)
    )
    assert short < 0.2 < 0.3 < long < 0.7


def test_impulse_response_starts_with_the_direct_sound(rng):
    for _ in range(20):
        response = draw_room(rng).impulse_response(RATE)
        assert abs(response[0]) == pytest.approx(1.0)
        assert np.abs(response).max() == pytest.approx(1.0)


def test_source_and_microphone_are_inside_the_room(rng):
    for _ in range(200):
        room = draw_room(rng)
        for place in (room.source, room.microphone):
            assert np.all((place > 0) & (place < room.dimensions))


def test_reverberation_keeps_the_length(speech):
    assert len(reverberate(speech, np.ones(500))) == len(speech)


def test_steeper_slope_moves_noise_to_low_frequencies(rng):
    tilts = []
    for slope_db in (0.0, 6.0):
        noise = BackgroundNoise((1.0, 0.0, 0.0), slope_db, 500.0, 0.0, 50.0)
        sample = noise.sample(RATE, RATE, rng)
        tilts.append(power_db(sample, 400, 600) - power_db(sample, 1600, 2400))
    assert tilts == pytest.approx([0.0, 12.0], abs=2.0)


def test_hum_lies_on_harmonics_of_the_mains(rng):
    hum = BackgroundNoise((0.0, 0.0, 1.0), 0.0, 500.0, 0.0, 50.0)
    power = np.abs(np.fft.rfft(hum.sample(RATE, RATE, rng))) ** 2
    harmonics = power[50 : 12 * 50 + 1 : 50].sum()
    assert harmonics > 0.999 * power.sum()


def test_noise_differs_from_stretch_to_stretch(rng):
    noise = draw_noise(rng)
    one, other = noise.sample(RATE, RATE, rng), noise.sample(RATE, RATE, rng)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_flat_microphone_changes_nothing(speech):
    microphone = Microphone(np.zeros(10), low_hz=1.0, high_hz=8000.0)
    assert np.allclose(microphone.apply(speech), speech, atol=1e-9)


def test_microphone_cuts_beyond_its_band(rng, speech):
    microphone = Microphone(np.zeros(10), low_hz=40.0, high_hz=4000.0)
    change = power_db(microphone.apply(speech), 7000, 8000)
    change -= power_db(speech, 7000, 8000)
    assert change == pytest.approx(-24 * np.log2(7500 / 4000), abs=1.0)


@pytest.mark.parametrize(
    "codec",
    [
        Codec("OGG", "VORBIS", compression=0.8),
        Codec("MP3", "MPEG_LAYER_III", compression=0.9),
        Codec("OGG", "OPUS", compression=0.9),
        Codec("WAV", "IMA_ADPCM"),
        Codec("WAV", "ULAW"),
        Codec("WAV", "ULAW", sample_rate=8000),
        Codec("WAV", "GSM610", sample_rate=8000),
    ],
)
def test_codec_keeps_length_and_most_of_a_low_tone(codec):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    decoded = codec.apply(tone)
    assert len(decoded) == len(tone)
    change = power_db(decoded, 400, 480) - power_db(tone, 400, 480)
    assert abs(change) < 1.5
    assert not np.array_equal(decoded, tone)


def test_telephone_codecs_are_a_minority(rng):
    codecs = [draw_codec(rng) for _ in range(1000)]
    narrow = sum(c is not None and c.sample_rate == 8000 for c in codecs)
    assert 50 < narrow < 150


def test_recording_keeps_length_and_does_not_clip(rng, speech):
    for _ in range(20):
        recording = draw_condition(rng).apply(speech, rng)
        assert len(recording) == len(speech)
        assert np.abs(recording).max() <= 0.9 + 1e-9


def test_recording_does_not_depend_on_the_level_of_the_speech(rng, speech):
    condition = draw_condition(rng)
    one = condition.apply(speech, np.random.default_rng(0))
    other = condition.apply(speech / 1000, np.random.default_rng(0))
    assert np.allclose(one, other, atol=1e-3)


def test_conditions_lie_within_the_ranges_promised(rng):
    conditions = [draw_condition(rng) for _ in range(100)]
    snr_db = [condition.snr_db for condition in conditions]
    assert 5 <= min(snr_db) < 12 < 20 < max(snr_db) <= 25


def test_one_condition_colours_two_utterances_alike(rng):
    noise = np.random.default_rng(0)
    curves = [draw_microphone(rng) for _ in range(2)]
    spectra = []
    for microphone in curves:
        for _ in range(2):
            sample = microphone.apply(noise.standard_normal(RATE))
            spectra.append(
                [
                    power_db(sample, hz, hz * 1.4)
                    for hz in (100, 400, 1600, 4800)
                ]
            )
    one, same, other, _ = map(np.array, spectra)
    assert np.linalg.norm(one - same) < np.linalg.norm(one - other)
