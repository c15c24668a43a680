"""The two figures that speaker verification is judged by."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike

from ssps_plugin.evaluation.detection_curve import detection_curve


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
