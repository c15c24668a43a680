"""Synthetic speakers: who they are, and how they speak."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation import espeak
from ssps_plugin.simulation.sentences import draw_sentence

SAMPLE_RATE = 16000  # Hz, of the corpus

# Variants with an echo or with breath are left out: espeak-ng reads memory
# it never set for them, so their samples differ from run to run. So are the
# whispering and robotic ones, and those that sound like another.
_MALE_VARIANTS = """m1 m3 m4 m5 m6 m7 m8 Alex Andy Denis Diogo Gene Jacky Lee
Mario Mike Nguyen Reed Storm Tweaky adam antonio benjamin boris david ed edward
gustave ian iven john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 marcelo max
mike2 norbert paul pedro quincy robert travis"""
_FEMALE_VARIANTS = """f1 Andrea Annie anika aunty belinda grandma linda shelby
steph steph3"""
# Variants that state no gender; higher and with a shorter vocal tract they
# make women's voices too.
_NEUTRAL_VARIANTS = """Gene Reed adam benjamin boris edward iven klatt2 klatt3
klatt4 norbert max"""
# English read by the rules of these languages comes out as accents.
_LANGUAGES = """en en-us en-gb-scotland en-gb-x-rp en-gb-x-gbclan
en-gb-x-gbcwmd en-029 en-us-nyc de fr es it nl sv pt-br pl cs ro da fi hu id sw
tr hr et"""

_NUM_CANDIDATES = 32
_OTHER_VARIANT_DISTANCE = 0.5
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

    def speak(self, seconds: float, rng: Generator) -> NDArray[np.float64]:
        """Say something new, cut to length at a random place.

        Arguments
        ---------
        seconds : float
            Length of the waveform.
        rng : numpy.random.Generator
            Draws the words and the cut.

        Returns
        -------
        ndarray, shape (round(seconds * 16000),)
            The waveform, at 16 kHz.
        """
        num_samples = round(seconds * SAMPLE_RATE)
        speech = np.zeros(0)
        while len(speech) < num_samples:
            speech = np.concatenate([speech, self._say(draw_sentence(rng))])
        start = int(rng.integers(len(speech) - num_samples + 1))
        return speech[start : start + num_samples]

    def _say(self, text: str) -> NDArray[np.float64]:
        waveform = _trim_silence(
            espeak.synthesize(
                text,
                f"{self.language}+{self.variant}",
                self.pitch,
                self.pitch_range,
                self.rate,
            )
        )
        ratio = SAMPLE_RATE / espeak.SAMPLE_RATE / self.formant_factor
        up_down = Fraction(ratio).limit_denominator(_MAX_DENOMINATOR)
        return resample_poly(waveform, up_down.numerator, up_down.denominator)


def draw_speakers(num_speakers: int, seed: int) -> list[Speaker]:
    """Draw distinct speakers, women and men in turn.

    Each is the candidate that lies farthest from the speakers of the same
    gender so far, in formants, pitch, liveliness and rate; the first speakers
    are the same however many follow.

    Arguments
    ---------
    num_speakers : int
        How many speakers to draw.
    seed : int
        The corpus' seed.

    Returns
    -------
    list of Speaker
        Named ``id10001`` and up.

    Example
    -------
    >>> [(s.name, s.gender) for s in draw_speakers(2, seed=1)]
    [('id10001', 'f'), ('id10002', 'm')]
    """
    rng = np.random.default_rng([seed, 0])
    variants = {
        "f": rng.permutation(f"{_FEMALE_VARIANTS} {_NEUTRAL_VARIANTS}".split()),
        "m": rng.permutation(_MALE_VARIANTS.split()),
    }
    speakers: dict[str, list[Speaker]] = {"f": [], "m": []}
    drawn = []
    for index in range(num_speakers):
        gender = "fm"[index % 2]
        others = speakers[gender]
        variant = str(variants[gender][len(others) % len(variants[gender])])
        candidates = [
            _draw_candidate(f"id{10001 + index}", gender, variant, rng)
            for _ in range(_NUM_CANDIDATES)
        ]
        best = max(candidates, key=lambda c: _distance_to_nearest(c, others))
        others.append(best)
        drawn.append(best)
    return drawn


def _draw_candidate(
    name: str, gender: str, variant: str, rng: Generator
) -> Speaker:
    if gender == "m":
        lowest_pitch, highest_pitch, factors = 25, 70, (0.86, 1.08)
    elif variant in _NEUTRAL_VARIANTS.split():
        lowest_pitch, highest_pitch, factors = 80, 99, (1.1, 1.26)
    else:
        lowest_pitch, highest_pitch, factors = 5, 60, (0.92, 1.12)
    languages = _LANGUAGES.split()
    return Speaker(
        name=name,
        gender=gender,
        language=languages[int(rng.integers(len(languages)))],
        variant=variant,
        pitch=int(rng.integers(lowest_pitch, highest_pitch + 1)),
        pitch_range=int(rng.integers(15, 90)),
        rate=int(rng.integers(140, 200)),
        formant_factor=round(float(rng.uniform(*factors)), 4),
    )


def _distance_to_nearest(speaker: Speaker, others: list[Speaker]) -> float:
    return min((_distance(speaker, other) for other in others), default=0.0)


def _distance(one: Speaker, other: Speaker) -> float:
    # Formants and pitch tell voices apart best, so they weigh most
    difference = (
        (one.formant_factor - other.formant_factor) / 0.2,
        (one.pitch - other.pitch) / 60,
        (one.pitch_range - other.pitch_range) / 200,
        (one.rate - other.rate) / 150,
    )
    distance = float(np.linalg.norm(difference))
    if one.variant != other.variant:
        distance += _OTHER_VARIANT_DISTANCE
    return distance


def _trim_silence(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(waveform) > 0.02 * np.abs(waveform).max())
    margin = round(_MARGIN_SECONDS * espeak.SAMPLE_RATE)
    return waveform[max(0, loud[0] - margin) : loud[-1] + margin]
