"""Synthetic speakers: their voices, and the sentences that they speak."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation import espeak
from ssps_plugin.simulation.corpus import SAMPLE_RATE

# Most speak fewer words, so there is enough to cut from.
_WORDS_PER_SECOND = 3.5
_MARGIN_SECONDS = 0.1  # of silence that is kept around speech
_MAX_DENOMINATOR = 200  # shifts formants to within 0.01 %

# Variants with an echo or with breath are left out: espeak-ng reads memory for
# them that it never set, so their samples differ from run to run. Whispering
# and robotic ones are left out too, and those that sound like another.
_MALE_VARIANTS = """m1 m3 m4 m5 m6 m7 m8 Alex Andy Denis Diogo Gene Jacky Lee
Mario Mike Nguyen Reed Storm Tweaky adam antonio benjamin boris david ed edward
gustave ian iven john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 marcelo max
mike2 norbert paul pedro quincy robert travis"""
_FEMALE_VARIANTS = """f1 Andrea Annie anika aunty belinda grandma linda shelby
steph steph3"""
# Variants without a gender: with a higher pitch and a shorter vocal tract they
# are women's voices too.
_NEUTRAL_VARIANTS = """Gene Reed adam benjamin boris edward iven klatt2 klatt3
klatt4 norbert max"""
# English read by the rules of these languages has their accents.
_LANGUAGES = """en en-us en-gb-scotland en-gb-x-rp en-gb-x-gbclan
en-gb-x-gbcwmd en-029 en-us-nyc de fr es it nl sv pt-br pl cs ro da fi hu id sw
tr hr et"""

_NUM_CANDIDATES = 32  # of which the farthest from all others is taken
_OTHER_VARIANT_DISTANCE = 0.5  # added between two variants

_DETERMINERS = """the a this that every some another one my your our their his
her no any each"""
_ADJECTIVES = """quiet yellow ancient careful broken gentle northern hungry
frozen clever empty bitter golden narrow patient heavy curious distant foolish
bright shallow wooden loyal famous rough purple sudden tiny generous rainy
modern silent southern crooked thirsty useful jealous plain"""
_NOUNS = """teacher river window garden engine village doctor orange mountain
pencil captain kitchen shadow farmer bridge letter camel station bottle winter
neighbour island mirror judge ticket forest hammer pilot sandwich tiger church
violin market cousin blanket lawyer harbour pumpkin chair valley journey fox
cloud singer cottage thunder basket museum officer feather"""
_VERBS = """carries follows paints remembers finds watches answers breaks
borrows cooks describes enjoys forgets gathers hides imagines joins keeps
loves measures needs opens pushes questions reaches sells throws understands
visits washes chooses delivers explains fixes"""
_ADVERBS = """slowly yesterday often quickly perhaps again never carefully
together sometimes today gladly badly early outside there almost usually
upstairs by chance at noon in spring without warning"""
_PREPOSITIONS = """behind near above under beside without around through
towards beyond inside after before"""
_CONJUNCTIONS = """and but because while although so until when"""
_NUMBERS = """seven thirty twelve five forty nineteen eleven sixty hundred two
thousand eighteen"""


@dataclass(frozen=True)
class Speaker:
    """Synthetic speaker.

    Arguments
    ---------
    name : str
        Name as VoxCeleb's, `id10001` and up.
    gender : str
        `"m"` or `"f"`.
    language : str
        espeak-ng language by whose rules the speaker reads English.
    variant : str
        espeak-ng voice variant.
    pitch, pitch_range : int
        Settings of espeak-ng, 0 to 100.
    rate : int
        Words per minute, before the formants are shifted.
    formant_factor : float
        Factor of every frequency: above 1, the vocal tract is shorter (and the
        speech faster).
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
        """Speak a new text for each length, cut to it at a random place.

        Arguments
        ---------
        lengths_seconds : sequence of float
            Lengths of the waveforms.
        rng : numpy.random.Generator
            Source of the words and the cuts.

        Returns
        -------
        list of numpy.ndarray
            Waveforms `(round(seconds * 16000),)` at 16 kHz.
        """
        speech = self._synthesize(
            [
                draw_sentence(rng, math.ceil(_WORDS_PER_SECOND * seconds))
                for seconds in lengths_seconds
            ]
        )
        cuts = []
        for waveform, seconds in zip(speech, lengths_seconds, strict=True):
            num_samples = round(seconds * SAMPLE_RATE)
            while len(waveform) < num_samples:
                more = self._synthesize([draw_sentence(rng)])
                waveform = np.concatenate([waveform, *more])
            start = int(rng.integers(len(waveform) - num_samples + 1))
            cuts.append(waveform[start : start + num_samples])
        return cuts

    def _synthesize(self, texts: list[str]) -> list[NDArray[np.float64]]:
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


def draw_speakers(num_speakers: int, seed: int) -> list[Speaker]:
    """Draw distinct speakers, women and men in turn.

    Each is the candidate that is farthest from the speakers of the same gender
    so far, in formants, pitch, pitch range and rate. The first speakers are
    the same however many follow.

    Arguments
    ---------
    num_speakers : int
        How many speakers to draw.
    seed : int
        Seed of the corpus.

    Returns
    -------
    list of Speaker
        Named `id10001` and up.

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
    # Voices differ most by formants and pitch, so they weigh most.
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


def draw_sentence(rng: Generator, min_words: int = 12) -> str:
    """Draw a grammatical, mostly meaningless English sentence.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.
    min_words : int
        Clauses are added until there are at least this many words.

    Returns
    -------
    str
        The sentence.

    Example
    -------
    >>> import numpy as np
    >>> sentence = draw_sentence(np.random.default_rng(0), min_words=20)
    >>> len(sentence.split()) >= 20 and sentence.endswith(".")
    True
    """
    words = _draw_clause(rng)
    while len(words) < min_words:
        words += [_pick(_CONJUNCTIONS, rng), *_draw_clause(rng)]
    return " ".join(words).capitalize() + "."


def _draw_clause(rng: Generator) -> list[str]:
    clause = [*_draw_noun_phrase(rng), _pick(_VERBS, rng)]
    clause += _draw_noun_phrase(rng)
    if rng.random() < 0.5:
        clause += [_pick(_PREPOSITIONS, rng), *_draw_noun_phrase(rng)]
    if rng.random() < 0.5:
        clause.append(_pick(_ADVERBS, rng))
    return clause


def _draw_noun_phrase(rng: Generator) -> list[str]:
    noun = _pick(_NOUNS, rng)
    if rng.random() < 0.15:
        return [_pick(_NUMBERS, rng), _pick(_ADJECTIVES, rng), noun + "s"]
    phrase = [_pick(_DETERMINERS, rng)]
    if rng.random() < 0.6:
        phrase.append(_pick(_ADJECTIVES, rng))
    return [*phrase, noun]


def _pick(vocabulary: str, rng: Generator) -> str:
    words = vocabulary.split()
    return words[int(rng.integers(len(words)))]
