"""The cohort of score normalisation: utterances of the training set."""

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cohort:
    """Whom a trial's utterances are compared with to normalise its score.

    Arguments
    ---------
    files : list of pathlib.Path
        Utterances of no speaker of the trials.
    top_n : int, optional
        How many of them count on each side of a trial, those that score
        highest; all when left out.
    """

    files: list[pathlib.Path]
    top_n: int | None = None


def draw_cohort(
    files: Sequence[str | os.PathLike[str]],
    size: int,
    top_n: int | None = None,
    seed: int = 1986,
) -> Cohort:
    """Draw a cohort from the training set; reads no labels.

    Arguments
    ---------
    files : sequence of str or os.PathLike
        Files of the training manifest, in its order.
    size : int
        How many to draw, all where there are fewer.
    top_n : int, optional
        As in `Cohort`.
    seed : int
        Of the draw.

    Raises
    ------
    ValueError
        Fewer than two utterances, or than `top_n`.

    Example
    -------
    >>> draw_cohort(["a.wav", "b.wav"], size=9).files
    [PosixPath('a.wav'), PosixPath('b.wav')]
    """
    drawn_size = min(size, len(files))
    if drawn_size < max(2, top_n or 2):
        raise ValueError(
            f"Expected a cohort of at least 2 utterances, and of cohort_top_n "
            f"({top_n}), got {drawn_size}: cohort_size is {size}, the training "
            f"manifest has {len(files)} utterances. Lower cohort_top_n, or "
            "raise cohort_size."
        )
    drawn = np.random.default_rng(seed).permutation(len(files))[:drawn_size]
    return Cohort(
        [pathlib.Path(files[place]) for place in sorted(drawn)], top_n
    )
