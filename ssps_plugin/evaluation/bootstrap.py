"""Confidence intervals of EER and minDCF by resampling trials (bootstrap)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ssps_plugin.evaluation.error_rates import DetectionCurve, detection_curve

#: Numbers in memory at a time, over all resamples of a block.
NUMBERS_PER_BLOCK = 2**22
#: Most operating points looked at: more change no digit that anybody reads.
MAX_OPERATING_POINTS = 2**14


class Interval(NamedTuple):
    """Confidence interval, its ends in the unit of the error rate."""

    low: float
    high: float


def bootstrap_intervals(
    scores: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    p_targets: tuple[float, ...] = (0.01, 0.05),
    num_resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 1986,
) -> dict[str, Interval]:
    """Compute percentile intervals of EER and minDCF over resampled trials.

    Target and impostor trials are resampled separately, each as many as there
    are. Trials share speakers and utterances, which resampling trials ignores,
    so the true uncertainty is larger.

    The scores are sorted once; a resample is a count for every operating
    point. For a long list, only a grid of operating points is counted. The
    grid has a point for each of the highest-scoring impostors, since they
    decide the detection costs.

    Arguments
    ---------
    scores : array or torch.Tensor
        `(trials,)`, higher means more alike.
    labels : array or torch.Tensor
        `(trials,)`, 1 for a target trial, 0 for an impostor trial.
    p_targets : tuple of float
        Priors of the detection costs.
    num_resamples : int
        How often to resample, at least 2.
    confidence : float
        Fraction of the resamples within an interval, in (0, 1).
    seed : int
        Seed of the resampling.

    Returns
    -------
    dict of str to Interval
        `eer`, in [0, 1], and `min_dcf_<p_target>`.

    Raises
    ------
    ValueError
        A number is out of its range, or `detection_curve` refuses the trials.

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13.

    Example
    -------
    >>> labels = np.arange(1000) % 2
    >>> scores = labels + np.sin(np.arange(1000))
    >>> eer = bootstrap_intervals(scores, labels)["eer"]
    >>> bool(eer.low < detection_curve(scores, labels).equal_error_rate()[0])
    True
    """
    if num_resamples < 2 or not 0 < confidence < 1:
        raise ValueError(
            "Expected num_resamples of at least 2 and confidence in (0, 1), "
            f"got {num_resamples} and {confidence}: change num_resamples or "
            "confidence."
        )
    curve = detection_curve(scores, labels)
    is_target = np.asarray(torch.as_tensor(labels).cpu()) == 1
    num_targets = int(is_target.sum())
    num_impostors = len(is_target) - num_targets
    # Fraction of each kind between operating points, from strict to lenient.
    points = _operating_points(curve, num_targets, num_impostors)
    targets = np.diff(1 - curve.miss_rate[points])
    impostors = np.diff(curve.false_alarm_rate[points])
    generator = np.random.default_rng(seed)
    rates: dict[str, list[np.ndarray]] = {}
    per_block = max(1, NUMBERS_PER_BLOCK // len(targets))
    for start in range(0, num_resamples, per_block):
        num = min(per_block, num_resamples - start)
        hits = _resample(generator, num_targets, targets, num)
        false_alarms = _resample(generator, num_impostors, impostors, num)
        block = _error_rates(1 - hits, false_alarms, p_targets)
        for name, values in block.items():
            rates.setdefault(name, []).append(values)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {
        name: Interval(*map(float, np.quantile(np.concatenate(parts), tails)))
        for name, parts in rates.items()
    }


def _operating_points(
    curve: DetectionCurve, num_targets: int, num_impostors: int
) -> np.ndarray:
    """Choose operating points, the first (accept nothing) among them."""
    every = np.arange(len(curve.thresholds))
    if len(every) <= MAX_OPERATING_POINTS:
        return every
    part = MAX_OPERATING_POINTS // 4
    accepted = np.rint(curve.false_alarm_rate * num_impostors)
    hits = np.rint((1 - curve.miss_rate) * num_targets)
    chosen = [
        np.searchsorted(accepted, np.arange(1, part + 1)),
        np.searchsorted(accepted, np.linspace(part, num_impostors, part)),
        np.searchsorted(hits, np.linspace(0, num_targets, 2 * part)),
        every[[0, -1]],
    ]
    return np.unique(np.minimum(np.concatenate(chosen), every[-1]))


def _resample(
    generator: np.random.Generator,
    num_trials: int,
    fractions: np.ndarray,
    num_resamples: int,
) -> np.ndarray:
    """Resample trials of one kind; return the fraction accepted at each point.

    `fractions` is `(points,)`, the result `(num_resamples, points)`.
    """
    fractions = fractions.clip(min=0)
    counts = generator.multinomial(
        num_trials, fractions / fractions.sum(), size=num_resamples
    )
    return np.asarray(np.cumsum(counts, axis=1) / num_trials)


def _error_rates(
    misses: np.ndarray, false_alarms: np.ndarray, p_targets: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """Compute EER and minDCF `(resamples,)` from `(resamples, points)`."""
    rates = {"eer": _equal_error_rates(misses, false_alarms)}
    for p in p_targets:
        cost = (p * misses + (1 - p) * false_alarms).min(1)
        # Rejecting every trial costs p.
        rates[f"min_dcf_{p}"] = np.minimum(cost, p) / min(p, 1 - p)
    return rates


def _equal_error_rates(
    misses: np.ndarray, false_alarms: np.ndarray
) -> np.ndarray:
    """Interpolate where the rates meet, `(resamples,)`."""
    difference = misses - false_alarms
    after = np.argmax(difference <= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)

    def value_before(values: np.ndarray, at_first: float) -> np.ndarray:
        found = np.take_along_axis(values, before, axis=1)[:, 0]
        # Before the first score nothing is accepted.
        return np.where(after[:, 0] == 0, at_first, found)

    earlier = value_before(difference, 1.0)
    later = np.take_along_axis(difference, after, axis=1)[:, 0]
    fraction = earlier / np.maximum(earlier - later, 1e-300)
    low = value_before(false_alarms, 0.0)
    high = np.take_along_axis(false_alarms, after, axis=1)[:, 0]
    return np.asarray(low + fraction * (high - low))
