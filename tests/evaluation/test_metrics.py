"""EER and minDCF straight from scores."""

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from ssps_plugin.evaluation.metrics import equal_error_rate, min_dcf


def test_eer_is_where_scikit_learns_interpolated_roc_meets_the_diagonal():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, 500)
    scores = generator.normal(labels, 1.0).round(1)
    alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = brentq(
        lambda x: 1 - x - interp1d(alarm, hit)(x), 0, 1, xtol=1e-14
    )
    assert equal_error_rate(scores, labels)[0] == pytest.approx(
        expected, abs=1e-12
    )


def test_min_dcf_is_the_least_cost_on_scikit_learns_roc():
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, 500)
    scores = generator.normal(2 * labels, 1.0)
    alarm, hit, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = (0.01 * (1 - hit) + 0.99 * alarm).min() / 0.01
    assert min_dcf(scores, labels)[0] == pytest.approx(expected, abs=1e-12)


def test_accepting_at_the_min_dcf_threshold_costs_the_min_dcf():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 500)
    scores = generator.normal(2 * labels, 1.0)
    cost, threshold = min_dcf(scores, labels, p_target=0.05)
    accepted = scores >= threshold
    miss = (~accepted & (labels == 1)).sum() / (labels == 1).sum()
    alarm = (accepted & (labels == 0)).sum() / (labels == 0).sum()
    assert 0.05 * miss + 0.95 * alarm == pytest.approx(0.05 * cost)
