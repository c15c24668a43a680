"""Synthetic speakers: what makes their voices, and how they speak."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation import espeak
from ssps_plugin.simulation.sentences import draw_sentence

SAMPLE_RATE = 16000  # Hz, of the corpus

_WORDS_PER_SECOND = 3.5  # most say less, so there is enough to cut from
_MARGIN_SECONDS = 0.1
_MAX_DENOMINATOR = 200  # shifts formants to within 0.01 %


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Arguments
    ---------
    name : str
        VoxCeleb-like name, ``id10001`` …
    gender : str
        ``"m"`` or ``"f"``.
    language : str
        espeak-ng language whose rules the speaker reads English by.
    variant : str
        espeak-ng voice variant.
    pitch, pitch_range : int
        espeak-ng's settings, 0 to 100.
    rate : int
        Words per minute, before the formants are shifted.
    formant_factor : float
        Every frequency is multiplied by this: above 1, a shorter vocal tract
        (and faster speech).
    """

    name: str
    gender: str
    language: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int
    formant_factor: float

    def speak(
        self, lengths_seconds: Sequence[float], rng: Generator
    ) -> list[NDArray[np.float64]]:
        """Say something new for each length, cut to it at a random place.

        Arguments
        ---------
        lengths_seconds : sequence of float
            Lengths of the waveforms.
        rng : numpy.random.Generator
            Draws the words and the cuts.

        Returns
        -------
        list of ndarray, each of shape (round(seconds * 16000),)
            The waveforms, at 16 kHz.
        """
        speech = self._say(
            [
                draw_sentence(rng, math.ceil(_WORDS_PER_SECOND * seconds))
                for seconds in lengths_seconds
            ]
        )
        cuts = []
        for waveform, seconds in zip(speech, lengths_seconds, strict=True):
            num_samples = round(seconds * SAMPLE_RATE)
            while len(waveform) < num_samples:
                more = self._say([draw_sentence(rng)])
                waveform = np.concatenate([waveform, *more])
            start = int(rng.integers(len(waveform) - num_samples + 1))
            cuts.append(waveform[start : start + num_samples])
        return cuts

    def _say(self, texts: list[str]) -> list[NDArray[np.float64]]:
        waveforms = espeak.synthesize(
            texts,
            f"{self.language}+{self.variant}",
            self.pitch,
            self.pitch_range,
            self.rate,
        )
        ratio = SAMPLE_RATE / espeak.SAMPLE_RATE / self.formant_factor
        up_down = Fraction(ratio).limit_denominator(_MAX_DENOMINATOR)
        return [
            resample_poly(
                _trim_silence(waveform), up_down.numerator, up_down.denominator
            )
            for waveform in waveforms
        ]


def _trim_silence(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(waveform) > 0.02 * np.abs(waveform).max())
    margin = round(_MARGIN_SECONDS * espeak.SAMPLE_RATE)
    return waveform[max(0, loud[0] - margin) : loud[-1] + margin]
