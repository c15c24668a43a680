"""How far error rates could be off: bootstrap confidence intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ssps_plugin.evaluation.error_rates import DetectionCurve, detection_curve

#: Numbers held at a time, for all resamples of a block.
NUMBERS_PER_BLOCK = 2**22
#: Operating points that are looked at: more change no figure that one reads.
MOST_POINTS = 2**14


class Interval(NamedTuple):
    """A confidence interval, its ends in the unit of the figure."""

    low: float
    high: float


def bootstrap_intervals(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    p_targets: tuple[float, ...] = (0.01, 0.05),
    num_resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 1986,
) -> dict[str, Interval]:
    """Percentile intervals of EER and minDCF over resampled trials.

    Target and impostor trials are resampled apart, each as many as there are.
    Trials share speakers and utterances, which resampling trials does not
    see, so the true uncertainty is larger.

    The scores are sorted once; a resample is a count for every operating
    point. Of a long list a grid of them is taken, with every impostor that
    scores highest, where the detection costs are decided.

    Arguments
    ---------
    scores : array or torch.Tensor
        (trials,), higher means more alike.
    labels : array or torch.Tensor
        (trials,), 1 for a target trial, 0 for an impostor trial.
    p_targets : tuple of float
        Priors of the detection costs.
    num_resamples : int
        How often to resample, at least 2.
    confidence : float
        Share of the resamples within an interval, in (0, 1).
    seed : int
        Of the resampling.

    Returns
    -------
    dict of str to Interval
        ``eer``, in [0, 1], and ``min_dcf_<p_target>``.

    Raises
    ------
    ValueError
        As `detection_curve`, or a number out of its range.

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
            "expected num_resamples of at least 2 and confidence in (0, 1), "
            f"got {num_resamples} and {confidence}."
        )
    curve = detection_curve(scores, labels)
    is_target = np.asarray(torch.as_tensor(labels).cpu()) == 1
    num_targets = int(is_target.sum())
    num_impostors = len(is_target) - num_targets
    # Shares of each kind between operating points, from strict to lenient.
    points = _operating_points(curve, num_targets, num_impostors)
    targets = np.diff(1 - curve.miss_rate[points])
    impostors = np.diff(curve.false_alarm_rate[points])
    generator = np.random.default_rng(seed)
    figures: dict[str, list[np.ndarray]] = {}
    per_block = max(1, NUMBERS_PER_BLOCK // len(targets))
    for start in range(0, num_resamples, per_block):
        num = min(per_block, num_resamples - start)
        hits = _accepted(generator, num_targets, targets, num)
        false_alarms = _accepted(generator, num_impostors, impostors, num)
        misses = 1 - hits
        block = {"eer": _equal_error_rates(misses, false_alarms)}
        for p in p_targets:
            cost = (p * misses + (1 - p) * false_alarms).min(1)
            # Rejecting every trial costs p.
            block[f"min_dcf_{p}"] = np.minimum(cost, p) / min(p, 1 - p)
        for name, values in block.items():
            figures.setdefault(name, []).append(values)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {
        name: Interval(*map(float, np.quantile(np.concatenate(parts), tails)))
        for name, parts in figures.items()
    }


def _operating_points(
    curve: DetectionCurve, num_targets: int, num_impostors: int
) -> np.ndarray:
    """Choose operating points, the first (accept nothing) among them."""
    every = np.arange(len(curve.thresholds))
    if len(every) <= MOST_POINTS:
        return every
    part = MOST_POINTS // 4
    accepted = np.rint(curve.false_alarm_rate * num_impostors)
    hits = np.rint((1 - curve.miss_rate) * num_targets)
    chosen = [
        np.searchsorted(accepted, np.arange(1, part + 1)),
        np.searchsorted(accepted, np.linspace(part, num_impostors, part)),
        np.searchsorted(hits, np.linspace(0, num_targets, 2 * part)),
        every[[0, -1]],
    ]
    return np.unique(np.minimum(np.concatenate(chosen), every[-1]))


def _accepted(
    generator: np.random.Generator, num: int, shares: np.ndarray, resamples: int
) -> np.ndarray:
    """Resample trials of one kind; shares accepted at every point.

    Returns an array (resamples, points).
    """
    shares = shares.clip(min=0)
    counts = generator.multinomial(num, shares / shares.sum(), size=resamples)
    return np.asarray(np.cumsum(counts, axis=1) / num)


def _equal_error_rates(
    misses: np.ndarray, false_alarms: np.ndarray
) -> np.ndarray:
    """Where the rates meet, interpolated, `(resamples,)`."""
    difference = misses - false_alarms
    after = np.argmax(difference <= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)

    def at(values: np.ndarray, place: np.ndarray, first: float) -> np.ndarray:
        found = np.take_along_axis(values, place, axis=1)[:, 0]
        # Before the first score nothing is accepted.
        return np.where(after[:, 0] == 0, first, found)

    earlier = at(difference, before, 1.0)
    later = np.take_along_axis(difference, after, axis=1)[:, 0]
    share = earlier / np.maximum(earlier - later, 1e-300)
    low = at(false_alarms, before, 0.0)
    high = np.take_along_axis(false_alarms, after, axis=1)[:, 0]
    return np.asarray(low + share * (high - low))
