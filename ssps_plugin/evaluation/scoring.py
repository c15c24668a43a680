"""Scores of trials: cosines, normalised by a cohort (S-norm) if asked for."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssps_plugin.evaluation.trial_list import TrialList

#: Trials scored at a time: two gathered blocks of 512-d rows fit a CPU cache.
TRIALS_PER_BLOCK = 512
#: Embeddings compared with the whole cohort at a time: bounds the memory.
ROWS_PER_BLOCK = 1024
# Between these norms, float32 holds squares and products without loss.
_SMALLEST_NORM, _LARGEST_NORM = 1e-15, 1e15


class NoDirectionError(ValueError):
    """Embeddings that are zero or not finite, of which there is no cosine."""


@torch.no_grad()
def cosine_scores(embeddings: Tensor, trials: TrialList) -> Tensor:
    """Compute the cosine of the two embeddings of every trial.

    The embeddings are neither copied nor normalised as a whole, unless their
    norms are beyond float32's: only a block of trials is gathered at a time.

    Arguments
    ---------
    embeddings : torch.Tensor
        `(utterances, dim)`, floating point, in the order of
        `trials.utterances`; need not be normalised.
    trials : TrialList
        Which utterances to compare.

    Returns
    -------
    torch.Tensor
        `(trials,)` float32 in [-1, 1] (up to rounding), on the embeddings'
        device, without gradient.

    Raises
    ------
    ValueError
        There is not one embedding per utterance.
    NoDirectionError
        An embedding is zero or not finite; it is a ValueError.

    Example
    -------
    >>> embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    >>> trials = TrialList.from_names([0, 1], ["a", "a"], ["b", "c"])
    >>> cosine_scores(embeddings, trials)
    tensor([0.0000, 0.7071])
    """
    embeddings, norms = _with_norms(embeddings, trials)
    enrol = torch.from_numpy(trials.enrol).to(embeddings.device)
    test = torch.from_numpy(trials.test).to(embeddings.device)
    scores = torch.empty(len(trials), device=embeddings.device)
    for start in range(0, len(trials), TRIALS_PER_BLOCK):
        block = slice(start, start + TRIALS_PER_BLOCK)
        # Of whole rows, index_select copies twice as fast as indexing.
        one = embeddings.index_select(0, enrol[block]).float()
        other = embeddings.index_select(0, test[block]).float()
        scores[block] = torch.linalg.vecdot(one, other)
    return scores.div_(norms[enrol]).div_(norms[test])


def _with_norms(embeddings: Tensor, trials: TrialList) -> tuple[Tensor, Tensor]:
    """Return embeddings and their norms `(utterances,)`, or raise.

    The embeddings are those given, unless a norm would overflow or vanish in
    float32, as after a training that diverged: then all are scaled.
    """
    expected = len(trials.utterances)
    if embeddings.ndim != 2 or len(embeddings) != expected:
        raise ValueError(
            f"Expected embeddings of shape ({expected}, dim), one for every "
            f"utterance of the trial list, got {tuple(embeddings.shape)}: "
            "embed the utterances of this list."
        )
    norms = _norms(embeddings)
    if ((norms < _SMALLEST_NORM) | ~(norms <= _LARGEST_NORM)).any():
        largest = embeddings.abs().amax(dim=1, keepdim=True)
        embeddings = embeddings / largest.where(largest > 0, 1)
        norms = _norms(embeddings)
    finite = torch.isfinite(norms)
    bad = (~(finite & (norms > 0))).nonzero().flatten()
    if len(bad):
        first = trials.utterances[int(bad[0])]
        message = _describe_bad_embeddings(finite, len(bad), first)
        raise NoDirectionError(message)
    return embeddings, norms


def _norms(embeddings: Tensor) -> Tensor:
    return torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float32)


def _describe_bad_embeddings(finite: Tensor, num_bad: int, first: str) -> str:
    """Describe embeddings that are zero or not finite, and their cause."""
    num = len(finite)
    message = "Expected finite embeddings that are not all zero, got "
    if num_bad < num or num == 1:
        return (
            f"{message}{num_bad} others, the first that of {first}: check its "
            "audio and the model."
        )
    if not finite.any():
        return (
            f"{message}not one finite of {num}: the model is at fault, not "
            "the audio, since its weights or running statistics are not "
            "finite. Go back to an earlier checkpoint, and train with a lower "
            "learning rate."
        )
    return (
        f"{message}none of {num}, {num - int(finite.sum())} are not finite and "
        "the rest are zero: the model is at fault, not the audio. Go back to "
        "an earlier checkpoint."
    )


@torch.no_grad()
def s_norm(
    scores: Tensor,
    embeddings: Tensor,
    trials: TrialList,
    cohort: Tensor,
    top_n: int | None = None,
) -> Tensor:
    """Normalise scores symmetrically by a cohort, adaptively with `top_n`.

    Each side of a trial is scored against a cohort of utterances of other
    speakers. The trial's score is shifted and scaled by the mean and standard
    deviation of each side's cohort scores, and the two results are averaged.
    With `top_n`, a side's statistics are of its `top_n` highest cohort scores.

    Arguments
    ---------
    scores : torch.Tensor
        `(trials,)` cosine scores.
    embeddings : torch.Tensor
        `(utterances, dim)`, in the order of `trials.utterances`; need not be
        normalised.
    trials : TrialList
        The trials that were scored.
    cohort : torch.Tensor
        `(cohort, dim)` embeddings of utterances of no speaker of the trials.
    top_n : int, optional
        How many of the cohort count on each side; all if left out.

    Returns
    -------
    torch.Tensor
        `(trials,)` float32, on the embeddings' device, without gradient.

    Raises
    ------
    ValueError
        Fewer than two utterances of the cohort count, `top_n` is larger than
        the cohort, the dimensions differ, or an embedding of the cohort is not
        finite.

    Source: P. Matejka et al., Analysis of Score Normalization in Multilingual
    Speaker Recognition, Interspeech 2017 (adaptive S-norm, the variant that
    selects for each side by its own cohort scores).

    Example
    -------
    >>> trials = TrialList.from_names([0], ["a"], ["b"])
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> cohort = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    >>> s_norm(torch.zeros(1), embeddings, trials, cohort)
    tensor([-0.3536])
    """
    if cohort.ndim != 2 or cohort.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"Expected a cohort of shape (cohort, {embeddings.shape[1]}), got "
            f"{tuple(cohort.shape)}: embed it with the same encoder."
        )
    num = len(cohort) if top_n is None else top_n
    if not 2 <= num <= len(cohort):
        raise ValueError(
            "Expected at least 2 cohort utterances that count, and not more "
            f"than there are, got {num} of {len(cohort)}: change "
            "cohort_top_n or cohort_size."
        )
    bad = (~cohort.isfinite().all(1)).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"Expected finite embeddings of the cohort, got {len(bad)} of "
            f"{len(cohort)} that are not, the first in row {int(bad[0])}: "
            "check the model and, if it is not all of them, the audio; or "
            "change cohort_size to 0."
        )
    mean, std = _cohort_statistics(embeddings, cohort, num)
    sides = (
        torch.from_numpy(side).to(mean.device)
        for side in (trials.enrol, trials.test)
    )
    scores = scores.to(mean.device)
    enrol, test = ((scores - mean[side]) / std[side] for side in sides)
    return (enrol + test) / 2


def _cohort_statistics(
    embeddings: Tensor, cohort: Tensor, top_n: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the best cohort scores `(utterances,)`."""
    cohort = F.normalize(cohort.float(), dim=1)
    mean = torch.empty(len(embeddings), device=embeddings.device)
    std = torch.empty_like(mean)
    for start in range(0, len(embeddings), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        rows = F.normalize(embeddings[block].float(), dim=1)
        cohort_scores = rows @ cohort.T  # (rows, cohort)
        if top_n < len(cohort):
            cohort_scores = cohort_scores.topk(
                top_n, dim=1, sorted=False
            ).values
        mean[block] = cohort_scores.mean(1)
        std[block] = cohort_scores.std(1, correction=0)
    return mean, std.clamp_(min=1e-6)


@dataclass(frozen=True)
class Cohort:
    """Utterances whose scores normalise those of trials.

    Arguments
    ---------
    files : list of pathlib.Path
        Utterances of no speaker of the trials.
    top_n : int, optional
        How many of them count on each side of a trial, those that score
        highest; all if left out.
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
        How many to draw; all files if there are fewer.
    top_n : int, optional
        As in `Cohort`.
    seed : int
        Seed of the draw.

    Returns
    -------
    Cohort

    Raises
    ------
    ValueError
        There are fewer than two utterances, or fewer than `top_n`.

    Example
    -------
    >>> draw_cohort(["a.wav", "b.wav"], size=9).files
    [PosixPath('a.wav'), PosixPath('b.wav')]
    """
    num_drawn = min(size, len(files))
    if num_drawn < max(2, top_n or 2):
        raise ValueError(
            f"Expected a cohort of at least 2 utterances, and of cohort_top_n "
            f"({top_n}), got {num_drawn}: cohort_size is {size}, the training "
            f"manifest has {len(files)} utterances. Lower cohort_top_n, or "
            "raise cohort_size."
        )
    drawn = np.random.default_rng(seed).permutation(len(files))[:num_drawn]
    return Cohort(
        [pathlib.Path(files[index]) for index in sorted(drawn)], top_n
    )
