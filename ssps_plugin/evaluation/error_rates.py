"""Error rates of scored trials: detection curve, EER and minDCF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor


@dataclass(frozen=True)
class DetectionCurve:
    """Miss and false-alarm rate at every threshold, from strict to lenient.

    A trial is accepted when `score >= threshold`. Trials with the same score
    can only be accepted together, so a tie makes one operating point.

    Arguments
    ---------
    thresholds : numpy.ndarray
        `(points,)`, strictly decreasing; the first is `inf` (accept nothing),
        the others are the distinct scores.
    miss_rate : numpy.ndarray
        `(points,)`, fraction of target trials rejected, from 1 down to 0.
    false_alarm_rate : numpy.ndarray
        `(points,)`, fraction of impostor trials accepted, from 0 up to 1.
    """

    thresholds: NDArray[np.floating]
    miss_rate: NDArray[np.float64]
    false_alarm_rate: NDArray[np.float64]

    def equal_error_rate(self) -> tuple[float, float]:
        """Compute the rate at which both error rates are equal.

        The curve is taken as straight between operating points (like
        scikit-learn's `roc_curve` followed by linear interpolation). The
        threshold is interpolated in the same way.

        Returns
        -------
        eer : float
            In [0, 1].
        threshold : float
            The score at which the rates meet.
        """
        # Every operating point accepts at least one more trial, so the
        # difference falls strictly from 1 to -1 and crosses zero once.
        difference = self.miss_rate - self.false_alarm_rate
        after = int(np.argmax(difference <= 0))
        before = after - 1
        fraction = difference[before] / (difference[before] - difference[after])
        rise = self.false_alarm_rate[after] - self.false_alarm_rate[before]
        eer = self.false_alarm_rate[before] + fraction * rise
        threshold = float(self.thresholds[after])
        if before > 0:  # the first threshold is infinite
            step = float(self.thresholds[before]) - threshold
            threshold += (1 - fraction) * step
        return float(eer), float(threshold)

    def min_dcf(
        self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
    ) -> tuple[float, float]:
        """Compute the lowest detection cost, divided by the best blind one.

        A blind decision accepts every trial, or rejects every trial.

        Arguments
        ---------
        p_target : float
            Prior probability of a target trial, in (0, 1).
        c_miss : float
            Cost of rejecting a target, above 0.
        c_fa : float
            Cost of accepting an impostor, above 0.

        Returns
        -------
        min_dcf : float
            In [0, 1]; 1 means no better than accepting or rejecting everything.
        threshold : float
            The strictest score at which it is reached; `inf` if no threshold
            is better than rejecting every trial.

        Raises
        ------
        ValueError
            The prior or a cost is out of its range.
        """
        if not 0 < p_target < 1:
            raise ValueError(
                "Expected a probability in (0, 1) as p_target, "
                f"got {p_target}: change p_target."
            )
        if not (c_miss > 0 and c_fa > 0):
            raise ValueError(
                "Expected costs above 0 as c_miss and c_fa, "
                f"got {c_miss} and {c_fa}: change them."
            )
        miss_weight = c_miss * p_target
        false_alarm_weight = c_fa * (1 - p_target)
        cost = miss_weight * self.miss_rate
        cost += false_alarm_weight * self.false_alarm_rate
        best = int(np.argmin(cost))
        min_dcf = cost[best] / min(miss_weight, false_alarm_weight)
        return float(min_dcf), float(self.thresholds[best])

    def threshold_at(self, false_alarm_rate: float) -> float:
        """Return the most lenient threshold within a false-alarm rate.

        Arguments
        ---------
        false_alarm_rate : float
            Largest fraction of impostor trials to accept, in [0, 1].

        Returns
        -------
        float
            Accept a trial when `score >= threshold`; `inf` if every score
            would accept too many impostors.

        Raises
        ------
        ValueError
            The rate is out of its range.
        """
        if not 0 <= false_alarm_rate <= 1:
            raise ValueError(
                "Expected a fraction in [0, 1] as false_alarm_rate, got "
                f"{false_alarm_rate}: change false_acceptance_rate."
            )
        within = self.false_alarm_rate <= false_alarm_rate
        return float(self.thresholds[np.flatnonzero(within)[-1]])


def detection_curve(
    scores: ArrayLike | Tensor, labels: ArrayLike | Tensor
) -> DetectionCurve:
    """Count misses and false alarms at every distinct score.

    The scores are sorted once; there is no loop over thresholds.

    Arguments
    ---------
    scores : array or torch.Tensor
        `(trials,)`, higher means more alike.
    labels : array or torch.Tensor
        `(trials,)`, 1 for a target trial, 0 for an impostor trial.

    Returns
    -------
    DetectionCurve

    Raises
    ------
    ValueError
        The shapes differ, a score is not finite, a label is neither 0 nor 1,
        or there is no target trial or no impostor trial.

    Example
    -------
    >>> curve = detection_curve([0.9, 0.6, 0.6, 0.1], [1, 1, 0, 0])
    >>> curve.miss_rate.tolist()
    [1.0, 0.5, 0.0, 0.0]
    >>> curve.false_alarm_rate.tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    score_array, label_array = _to_numpy(scores), _to_numpy(labels)
    _check_trials(score_array, label_array)
    order = np.argsort(score_array)[::-1]
    ranked = score_array[order]
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    accepted = np.flatnonzero(is_last_of_tie) + 1
    is_target = label_array[order] == 1
    hits = np.cumsum(is_target, dtype=np.int64)[accepted - 1]
    num_targets = int(hits[-1])
    num_impostors = len(ranked) - num_targets
    return DetectionCurve(
        thresholds=np.append(np.inf, ranked[is_last_of_tie]),
        miss_rate=np.append(1.0, (num_targets - hits) / num_targets),
        false_alarm_rate=np.append(0.0, (accepted - hits) / num_impostors),
    )


def equal_error_rate(
    scores: ArrayLike | Tensor, labels: ArrayLike | Tensor
) -> tuple[float, float]:
    """Compute the EER in [0, 1] and its threshold.

    Arguments and errors are those of `detection_curve`; the values returned
    are those of `DetectionCurve.equal_error_rate`.

    Example
    -------
    >>> equal_error_rate([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    (0.5, 0.6)
    """
    return detection_curve(scores, labels).equal_error_rate()


def min_dcf(
    scores: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> tuple[float, float]:
    """Compute the normalised minDCF and its threshold.

    Scores and labels are those of `detection_curve`; the other arguments and
    the values returned are those of `DetectionCurve.min_dcf`.

    Example
    -------
    >>> min_dcf([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    (0.5, 0.9)
    """
    return detection_curve(scores, labels).min_dcf(p_target, c_miss, c_fa)


def _to_numpy(values: ArrayLike | Tensor) -> NDArray[np.generic]:
    """Convert to a numpy array; numpy has no bfloat16, so that is widened."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    if values.is_floating_point() and values.dtype != torch.float64:
        values = values.float()
    return values.numpy()


def _check_trials(
    scores: NDArray[np.generic], labels: NDArray[np.generic]
) -> None:
    """Raise where scores and labels have no error rates."""
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            "Expected scores and labels of one shape (trials,), "
            f"got {scores.shape} and {labels.shape}: give one of each per "
            "trial."
        )
    num_bad = int(np.count_nonzero(~np.isfinite(scores)))
    if num_bad:
        raise ValueError(
            f"Expected finite scores, got {num_bad} of {len(scores)} that are "
            "NaN or infinite: check the embeddings of these trials."
        )
    num_targets = int(np.count_nonzero(labels == 1))
    num_impostors = int(np.count_nonzero(labels == 0))
    if num_targets + num_impostors != len(labels):
        raise ValueError(
            "Expected labels of 1 (target) and 0 (impostor), "
            f"got {np.unique(labels)[:5].tolist()}: change `trials`."
        )
    if not (num_targets and num_impostors):
        raise ValueError(
            "Expected target and impostor trials, "
            f"got {num_targets} targets and {num_impostors} impostors: change "
            "`trials`."
        )
