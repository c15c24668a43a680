"""Drawing of speakers that can be told apart."""

import numpy as np
from numpy.random import Generator

from ssps_plugin.simulation.voices import Speaker

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
