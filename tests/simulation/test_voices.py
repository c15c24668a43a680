"""Synthetic voices: reproducible, cut to length, distinct."""

import itertools

import numpy as np
import pytest

from ssps_plugin.simulation import espeak, voices
from ssps_plugin.simulation.espeak import synthesize
from ssps_plugin.simulation.voices import draw_sentence, draw_speakers

TEXT = "The quick brown fox jumps over the lazy dog."


def fundamental_hz(waveform, sample_rate):
    """Median over frames of the strongest period, by autocorrelation."""
    periods = []
    for start in range(0, len(waveform) - 2048, 1024):
        frame = waveform[start : start + 2048]
        power = np.abs(np.fft.rfft(frame, 4096)) ** 2
        correlation = np.fft.irfft(power)[:2048]
        period = 40 + np.argmax(correlation[40:400])
        if correlation[period] > 0.5 * correlation[0]:
            periods.append(period)
    return sample_rate / np.median(periods)


def variants():
    return sorted(
        {
            *voices._MALE_VARIANTS.split(),
            *voices._FEMALE_VARIANTS.split(),
            *voices._NEUTRAL_VARIANTS.split(),
        }
    )


def test_speech_does_not_depend_on_what_was_said_before():
    first = synthesize([TEXT], "en+m3")[0]
    synthesize(["Something else entirely."], "de+Reed", pitch=80)
    assert np.array_equal(synthesize([TEXT], "en+m3")[0], first)


def test_every_variant_speaks_the_same_in_any_order():
    names = variants()
    forward = {name: synthesize([TEXT], f"en+{name}")[0] for name in names}
    for name in reversed(names):
        again = synthesize([TEXT], f"en+{name}")[0]
        assert np.array_equal(again, forward[name]), name


def test_every_language_is_known_to_espeak():
    for language in voices._LANGUAGES.split():
        assert len(synthesize(["Hello."], f"{language}+m3")[0]), language


def test_unknown_voice_is_refused():
    with pytest.raises(RuntimeError, match="nowhere"):
        synthesize([TEXT], "nowhere+m3")


def test_higher_pitch_raises_the_fundamental():
    low, high = (
        fundamental_hz(
            synthesize([TEXT], "en+m3", pitch=pitch)[0], espeak.SAMPLE_RATE
        )
        for pitch in (30, 70)
    )
    assert high > 1.2 * low


def test_utterances_have_the_lengths_asked_for():
    lengths = [0.5, 2.0, 6.25]
    speech = draw_speakers(1, seed=1)[0].speak(
        lengths, np.random.default_rng(0)
    )
    assert [len(waveform) for waveform in speech] == [8000, 32000, 100000]


def test_sentences_differ():
    rng = np.random.default_rng(0)
    sentences = [draw_sentence(rng) for _ in range(200)]
    assert len(set(sentences)) == 200


def test_formant_factor_shifts_the_fundamental_too():
    speaker = draw_speakers(2, seed=1)[1]
    shifted = type(speaker)(
        **{**vars(speaker), "formant_factor": 1.2 * speaker.formant_factor}
    )
    before, after = (
        fundamental_hz(who.speak([6.0], np.random.default_rng(0))[0], 16000)
        for who in (speaker, shifted)
    )
    assert after / before == pytest.approx(1.2, rel=0.05)


def test_first_speakers_are_the_same_however_many_follow():
    assert draw_speakers(30, seed=1)[:10] == draw_speakers(10, seed=1)


def test_speakers_of_one_variant_differ_in_formants_or_pitch():
    speakers = draw_speakers(130, seed=1)
    for one, other in itertools.combinations(speakers, 2):
        if (one.gender, one.variant) == (other.gender, other.variant):
            formants = abs(one.formant_factor - other.formant_factor)
            assert formants > 0.02 or abs(one.pitch - other.pitch) > 6


def test_women_speak_higher_than_men():
    speakers = draw_speakers(20, seed=1)
    pitch = {"f": [], "m": []}
    for speaker in speakers:
        speech = speaker.speak([3.0], np.random.default_rng(0))[0]
        pitch[speaker.gender].append(fundamental_hz(speech, 16000))
    assert np.median(pitch["f"]) > 1.4 * np.median(pitch["m"])
