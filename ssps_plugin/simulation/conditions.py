"""Recording conditions: room, noise, microphone, codec and level."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from ssps_plugin.simulation.codecs import Codec, draw_codec
from ssps_plugin.simulation.corpus import SAMPLE_RATE
from ssps_plugin.simulation.noise import BackgroundNoise, draw_noise
from ssps_plugin.simulation.rooms import draw_room, reverberate

_PEAK = 0.9  # largest magnitude of a waveform, of full scale
_CODEC_LEVEL_DB = -23.0  # root mean square of what a codec is given
_CODEC_TAIL_SECONDS = 0.1  # put after the speech, and cut off after the codec
_JITTER_DB = 1.0  # how much utterances of a recording differ
_CURVE_HZ = np.geomspace(60.0, 8000.0, 10)  # where a microphone's gain is set


@dataclass(frozen=True, eq=False)
class Microphone:
    """Frequency response of a microphone.

    Arguments
    ---------
    curve_db : numpy.ndarray
        `(10,)`, the gain at 60 Hz to 8 kHz, evenly spaced in octaves.
    low_hz, high_hz : float
        Edges of the band, beyond which the response falls by 24 dB an octave.
    """

    curve_db: NDArray[np.float64]
    low_hz: float
    high_hz: float

    def apply(self, waveform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter a 16 kHz waveform of shape `(samples,)`."""
        length = next_fast_len(len(waveform), real=True)
        frequencies = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        octave = np.log2(np.maximum(frequencies, 20.0))
        gain_db = np.interp(octave, np.log2(_CURVE_HZ), self.curve_db)
        below = np.log2(self.low_hz) - octave
        above = octave - np.log2(self.high_hz)
        gain_db -= 24.0 * (np.maximum(below, 0) + np.maximum(above, 0))
        spectrum = np.fft.rfft(waveform, length) * 10 ** (gain_db / 20)
        return np.fft.irfft(spectrum, length)[: len(waveform)]


@dataclass(frozen=True, eq=False)
class RecordingCondition:
    """Condition that all utterances of a recording share.

    Arguments
    ---------
    impulse_response : numpy.ndarray
        `(taps,)` at 16 kHz, from the speaker to the microphone.
    noise : BackgroundNoise
        Noise of the place.
    snr_db : float
        Power of the reverberant speech over that of the noise.
    microphone : Microphone
        Filter of both speech and noise.
    codec : Codec, optional
        None for a lossless recording.
    level_db : float
        Root mean square of the recording, relative to full scale.
    """

    impulse_response: NDArray[np.float64]
    noise: BackgroundNoise
    snr_db: float
    microphone: Microphone
    codec: Codec | None
    level_db: float

    def apply(
        self, speech: NDArray[np.float64], rng: Generator
    ) -> NDArray[np.float64]:
        """Record an utterance.

        Arguments
        ---------
        speech : numpy.ndarray
            `(samples,)`, clean speech at 16 kHz, at any level but not silent.
        rng : numpy.random.Generator
            Source of the noise, and of small differences in SNR and level.

        Returns
        -------
        numpy.ndarray
            `(samples,)` within [-0.9, 0.9].
        """
        tail = round(_CODEC_TAIL_SECONDS * SAMPLE_RATE)
        recording = reverberate(
            np.pad(speech, (0, tail)), self.impulse_response
        )
        noise = self.noise.sample(len(recording), SAMPLE_RATE, rng)
        snr_db = self.snr_db + rng.uniform(-_JITTER_DB, _JITTER_DB)
        power = np.mean(recording[: len(speech)] ** 2)
        recording += noise * np.sqrt(power / 10 ** (snr_db / 10))
        recording = self.microphone.apply(recording)
        if self.codec is not None:
            recording = self.codec.apply(_scale(recording, _CODEC_LEVEL_DB))
        level_db = self.level_db + rng.uniform(-_JITTER_DB, _JITTER_DB)
        return _scale(recording[: len(speech)], level_db)


def draw_condition(rng: Generator) -> RecordingCondition:
    """Draw a recording's condition.

    All but the kind of codec is from a continuous range, so that each of many
    recordings has near ones.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    RecordingCondition
        With SNR between 5 and 25 dB and RT60 between 0.1 and 0.7 s.

    Raises
    ------
    RuntimeError
        The demo extra is missing.
    """
    return RecordingCondition(
        impulse_response=draw_room(rng).impulse_response(SAMPLE_RATE),
        noise=draw_noise(rng),
        snr_db=float(rng.uniform(6.0, 24.0)),
        microphone=draw_microphone(rng),
        codec=draw_codec(rng),
        level_db=float(rng.uniform(-34.0, -18.0)),
    )


def draw_microphone(rng: Generator) -> Microphone:
    """Draw a microphone: a tilt, bumps, and the edges of its band."""
    octaves = np.log2(_CURVE_HZ / 1000)
    curve_db = rng.normal(0.0, 1.5) * octaves + rng.normal(
        0.0, 3.0, len(octaves)
    )
    return Microphone(
        curve_db=curve_db,
        low_hz=float(np.exp(rng.uniform(np.log(40.0), np.log(300.0)))),
        high_hz=float(np.exp(rng.uniform(np.log(3200.0), np.log(8000.0)))),
    )


def _scale(
    waveform: NDArray[np.float64], level_db: float
) -> NDArray[np.float64]:
    """Bring a waveform to a level, or as near as its peak allows."""
    level = np.sqrt(np.mean(waveform**2))
    peak = np.abs(waveform).max()
    return waveform * min(10 ** (level_db / 20) / level, _PEAK / peak)
