"""Verification trials over the utterances of a simulated corpus."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from numpy.random import Generator

logger = logging.getLogger(__name__)

# Draws per wanted trial after which a kind of trial counts as used up
_MAX_ATTEMPTS = 30

Utterances = dict[str, dict[str, list[str]]]
Pair = tuple[str, str]


class Trial(NamedTuple):
    """Two utterances: is it the same speaker?

    Arguments
    ---------
    label : int
        1 for a target trial, 0 for an impostor.
    enrolment, test : str
        Paths of the form ``speaker/recording/utterance.wav``.
    """

    label: int
    enrolment: str
    test: str


def draw_trials(
    utterances: Iterable[str],
    genders: Mapping[str, str],
    num_trials: int,
    rng: Generator,
) -> list[Trial]:
    """Draw target and impostor trials, half of each, without repetition.

    Target trials cross recordings; half of the impostors are of the
    same gender, where the speakers allow. If the utterances do not make enough
    trials, there are fewer, and the log says so.

    Arguments
    ---------
    utterances : iterable of str
        Paths of the form ``speaker/recording/utterance.wav``.
    genders : mapping of str to str
        Gender of each speaker; any values that can be compared.
    num_trials : int
        How many trials to draw.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of Trial
        In random order.

    Example
    -------
    >>> import numpy as np
    >>> paths = [f"{s}/{r}/00001.wav" for s in "ab" for r in "xy"]
    >>> trials = draw_trials(
    ...     paths, {"a": "f", "b": "f"}, 4, np.random.default_rng(0)
    ... )
    >>> sorted((t.label, t.enrolment[0] == t.test[0]) for t in trials)
    [(0, False), (0, False), (1, True), (1, True)]
    """
    tree = _by_speaker(utterances)
    num_targets = num_trials // 2
    num_impostors = num_trials - num_targets
    targets = _draw_distinct(
        partial(_draw_target, tree, rng), num_targets, set()
    )
    impostors: set[Pair] = set()
    for number, same_gender in (
        (num_impostors // 2, True),
        (num_impostors, False),
        (num_impostors, None),
    ):
        impostors |= _draw_distinct(
            partial(_draw_impostor, tree, genders, same_gender, rng),
            number - len(impostors),
            impostors,
        )
    trials = [Trial(1, *pair) for pair in sorted(targets)]
    trials += [Trial(0, *pair) for pair in sorted(impostors)]
    if len(trials) < num_trials:
        logger.warning(
            "Only %d distinct trials could be drawn instead of %d.",
            len(trials),
            num_trials,
        )
    return [trials[index] for index in rng.permutation(len(trials))]


def write_trials(path: Path, trials: Iterable[Trial]) -> None:
    """Write trials the way VoxCeleb does: ``label enrolment test``.

    Arguments
    ---------
    path : Path
        The file.
    trials : iterable of Trial
        What to write.
    """
    lines = [f"{t.label} {t.enrolment} {t.test}\n" for t in trials]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _by_speaker(utterances: Iterable[str]) -> Utterances:
    tree: Utterances = defaultdict(lambda: defaultdict(list))
    for utterance in utterances:
        speaker, recording, _ = utterance.split("/")
        tree[speaker][recording].append(utterance)
    return tree


def _draw_distinct(
    draw: Callable[[], Pair | None], number: int, taken: set[Pair]
) -> set[Pair]:
    pairs: set[Pair] = set()
    for _ in range(number * _MAX_ATTEMPTS):
        if len(pairs) == number:
            break
        pair = draw()
        # A pair and its reverse are one trial
        if pair and not {pair, pair[::-1]} & (pairs | taken):
            pairs.add(pair)
    return pairs


def _draw_target(tree: Utterances, rng: Generator) -> Pair | None:
    recordings = tree[_pick(list(tree), rng)]
    if len(recordings) < 2:
        return None
    one, other = rng.choice(len(recordings), 2, replace=False)
    names = list(recordings)
    return (
        _pick(recordings[names[one]], rng),
        _pick(recordings[names[other]], rng),
    )


def _draw_impostor(
    tree: Utterances,
    genders: Mapping[str, str],
    same_gender: bool | None,
    rng: Generator,
) -> Pair | None:
    if len(tree) < 2:
        return None
    names = list(tree)
    one, other = (names[i] for i in rng.choice(len(names), 2, replace=False))
    same = genders[one] == genders[other]
    if same_gender is not None and same != same_gender:
        return None
    return _draw_utterance(tree[one], rng), _draw_utterance(tree[other], rng)


def _draw_utterance(recordings: dict[str, list[str]], rng: Generator) -> str:
    return _pick(recordings[_pick(list(recordings), rng)], rng)


def _pick(names: list[str], rng: Generator) -> str:
    return names[int(rng.integers(len(names)))]
