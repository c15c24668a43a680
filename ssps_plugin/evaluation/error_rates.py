"""Error rates of scored trials, from one sort of the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class DetectionCurve:
    """Both error rates at every operating point, from strict to lenient.

    A trial is accepted when ``score >= threshold``. Trials with the same score
    can only be accepted together, so a tie makes one operating point.

    Arguments
    ---------
    thresholds : numpy.ndarray
        (points,), strictly decreasing; the first is ``inf`` (accept nothing),
        the others are the distinct scores.
    miss_rate : numpy.ndarray
        (points,), share of target trials rejected, from 1 down to 0.
    false_alarm_rate : numpy.ndarray
        (points,), share of impostor trials accepted, from 0 up to 1.
    """

    thresholds: NDArray[np.floating]
    miss_rate: NDArray[np.float64]
    false_alarm_rate: NDArray[np.float64]

    def equal_error_rate(self) -> tuple[float, float]:
        """Where the two error rates meet.

        The curve is taken as straight between operating points (as
        scikit-learn's ``roc_curve`` followed by linear interpolation), and
        the threshold is interpolated alike.

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
        share = difference[before] / (difference[before] - difference[after])
        rise = self.false_alarm_rate[after] - self.false_alarm_rate[before]
        eer = self.false_alarm_rate[before] + share * rise
        threshold = float(self.thresholds[after])
        if before > 0:  # the first threshold is infinite
            step = float(self.thresholds[before]) - threshold
            threshold += (1 - share) * step
        return float(eer), float(threshold)

    def min_dcf(
        self, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
    ) -> tuple[float, float]:
        """Lowest detection cost, as a share of the best blind decision's cost.

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
            The score at which it is reached (the strictest one); ``inf`` where
            nothing beats rejecting every trial.

        Raises
        ------
        ValueError
            If the prior or a cost is out of its range.
        """
        if not 0 < p_target < 1:
            raise ValueError(
                f"p_target: expected a probability in (0, 1), got {p_target}."
            )
        if not (c_miss > 0 and c_fa > 0):
            raise ValueError(
                "c_miss and c_fa: expected costs above 0, "
                f"got {c_miss} and {c_fa}."
            )
        miss_weight = c_miss * p_target
        false_alarm_weight = c_fa * (1 - p_target)
        cost = miss_weight * self.miss_rate
        cost += false_alarm_weight * self.false_alarm_rate
        best = int(np.argmin(cost))
        min_dcf = cost[best] / min(miss_weight, false_alarm_weight)
        return float(min_dcf), float(self.thresholds[best])

    def threshold_at(self, false_alarm_rate: float) -> float:
        """The most lenient threshold that keeps false acceptances rare enough.

        Arguments
        ---------
        false_alarm_rate : float
            Largest share of impostor trials to accept, in [0, 1].

        Returns
        -------
        float
            Accept where ``score >= threshold``; ``inf`` where every score
            would let in more.

        Raises
        ------
        ValueError
            If the rate is out of its range.
        """
        if not 0 <= false_alarm_rate <= 1:
            raise ValueError(
                "false_alarm_rate: expected a share in [0, 1], got "
                f"{false_alarm_rate}."
            )
        within = self.false_alarm_rate <= false_alarm_rate
        return float(self.thresholds[np.flatnonzero(within)[-1]])


def detection_curve(
    scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor
) -> DetectionCurve:
    """Sort the trials once and count both errors at every distinct score.

    Arguments
    ---------
    scores : array or torch.Tensor
        (trials,), higher means more alike.
    labels : array or torch.Tensor
        (trials,), 1 for a target trial, 0 for an impostor trial.

    Returns
    -------
    DetectionCurve

    Raises
    ------
    ValueError
        If the lengths differ, a score is not finite, a label is neither 0 nor
        1, or one of the two kinds of trials is missing.

    Example
    -------
    >>> curve = detection_curve([0.9, 0.6, 0.6, 0.1], [1, 1, 0, 0])
    >>> curve.miss_rate.tolist()
    [1.0, 0.5, 0.0, 0.0]
    >>> curve.false_alarm_rate.tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    score_array, is_target = _check_trials(_array(scores), _array(labels))
    order = np.argsort(score_array)[::-1]
    ranked = score_array[order]
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    accepted = np.flatnonzero(is_last_of_tie) + 1
    hits = np.cumsum(is_target[order], dtype=np.int64)[accepted - 1]
    num_targets = int(hits[-1])
    num_impostors = len(ranked) - num_targets
    return DetectionCurve(
        thresholds=np.append(np.inf, ranked[is_last_of_tie]),
        miss_rate=np.append(1.0, (num_targets - hits) / num_targets),
        false_alarm_rate=np.append(0.0, (accepted - hits) / num_impostors),
    )


def _array(values: ArrayLike | torch.Tensor) -> NDArray[np.generic]:
    """Values as a numpy array; numpy has no bfloat16, so that is widened."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (
        values.float()
        if values.is_floating_point() and values.dtype != torch.float64
        else values
    ).numpy()


def _check_trials(
    scores: NDArray[np.generic], labels: NDArray[np.generic]
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Refuse what has no error rates; return scores and "is a target"."""
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            "expected scores and labels of one shape (trials,), "
            f"got {scores.shape} and {labels.shape}."
        )
    num_bad = int(np.count_nonzero(~np.isfinite(scores)))
    if num_bad:
        raise ValueError(
            f"expected finite scores, got {num_bad} of {len(scores)} that are "
            "NaN or infinite: check the embeddings of these trials."
        )
    is_target = labels == 1
    num_targets = int(np.count_nonzero(is_target))
    num_impostors = int(np.count_nonzero(labels == 0))
    if num_targets + num_impostors != len(labels):
        raise ValueError(
            "expected labels of 1 (target) and 0 (impostor), "
            f"got {np.unique(labels)[:5].tolist()}."
        )
    if not (num_targets and num_impostors):
        raise ValueError(
            "expected target and impostor trials, "
            f"got {num_targets} targets and {num_impostors} impostors."
        )
    return scores, is_target


def equal_error_rate(
    scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor
) -> tuple[float, float]:
    """EER in [0, 1] and its threshold; see `DetectionCurve.equal_error_rate`.

    Example
    -------
    >>> equal_error_rate([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    (0.5, 0.6)
    """
    return detection_curve(scores, labels).equal_error_rate()


def min_dcf(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> tuple[float, float]:
    """Normalised minDCF and its threshold; see `DetectionCurve.min_dcf`.

    Example
    -------
    >>> min_dcf([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    (0.5, 0.9)
    """
    return detection_curve(scores, labels).min_dcf(p_target, c_miss, c_fa)
