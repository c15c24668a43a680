"""Bootstrap intervals against resampling trial by trial."""

import numpy as np
import pytest
import torch

from ssps_plugin.evaluation import bootstrap
from ssps_plugin.evaluation.bootstrap import bootstrap_intervals
from ssps_plugin.evaluation.error_rates import detection_curve


def trials(num=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(num) % 4 == 0).astype(int)
    scores = rng.normal(size=num) + 2 * labels
    return np.round(scores, 1), labels  # with ties


def resampled(scores, labels, seed):
    rng = np.random.default_rng(seed)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(labels == kind), (labels == kind).sum())
            for kind in (0, 1)
        ]
    )
    return detection_curve(scores[chosen], labels[chosen])


def test_intervals_are_those_of_resampling_trials_one_by_one():
    scores, labels = trials()
    found = bootstrap_intervals(scores, labels, num_resamples=4000)
    curves = [resampled(scores, labels, seed) for seed in range(2000)]
    for name, values in (
        ("eer", [curve.equal_error_rate()[0] for curve in curves]),
        ("min_dcf_0.01", [curve.min_dcf(0.01)[0] for curve in curves]),
        ("min_dcf_0.05", [curve.min_dcf(0.05)[0] for curve in curves]),
    ):
        low, high = np.quantile(values, [0.025, 0.975])
        width = high - low
        assert found[name].low == pytest.approx(low, abs=0.1 * width)
        assert found[name].high == pytest.approx(high, abs=0.1 * width)


def test_a_resample_of_every_trial_once_gives_the_curves_own_error_rates(
    monkeypatch,
):
    scores, labels = trials()
    monkeypatch.setattr(
        bootstrap,
        "_resample",
        lambda _, __, fractions, num: np.tile(np.cumsum(fractions), (num, 1)),
    )
    found = bootstrap_intervals(scores, labels, num_resamples=2)
    curve = detection_curve(scores, labels)
    eer = curve.equal_error_rate()[0]
    assert found["eer"] == pytest.approx((eer, eer), abs=1e-12)
    cost = curve.min_dcf(0.05)[0]
    assert found["min_dcf_0.05"] == pytest.approx((cost, cost), abs=1e-12)


def test_more_trials_give_a_narrower_interval():
    widths = []
    for num in (200, 3200):
        interval = bootstrap_intervals(*trials(num), num_resamples=300)["eer"]
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_the_same_seed_gives_the_same_intervals():
    scores, labels = trials()
    scores, labels = torch.tensor(scores), torch.tensor(labels)
    once = bootstrap_intervals(scores, labels, num_resamples=50)
    assert bootstrap_intervals(scores, labels, num_resamples=50) == once
    assert bootstrap_intervals(scores, labels, num_resamples=50, seed=1) != once


def test_separable_trials_have_no_error_in_any_resample():
    labels = np.arange(100) % 2
    found = bootstrap_intervals(labels + 0.0, labels, num_resamples=20)
    assert found["eer"] == (0.0, 0.0)
    assert found["min_dcf_0.01"] == (0.0, 0.0)


@pytest.mark.parametrize(
    "options", [{"num_resamples": 1}, {"confidence": 1.0}, {"confidence": 0.0}]
)
def test_numbers_out_of_range_are_an_error(options):
    with pytest.raises(
        ValueError, match="Expected num_resamples of at least 2"
    ):
        bootstrap_intervals(*trials(), **options)


def test_a_grid_of_points_gives_the_intervals_of_all_of_them(monkeypatch):
    rng = np.random.default_rng(3)
    labels = (np.arange(40_000) % 3 == 0).astype(int)
    scores = rng.normal(size=len(labels)) + 3 * labels
    every, grid = [], []
    for points, found in ((10**6, every), (2**12, grid)):
        monkeypatch.setattr(bootstrap, "MAX_OPERATING_POINTS", points)
        found.append(bootstrap_intervals(scores, labels, num_resamples=400))
    for name, interval in every[0].items():
        width = interval.high - interval.low
        assert grid[0][name].low == pytest.approx(interval.low, abs=width / 8)
        assert grid[0][name].high == pytest.approx(interval.high, abs=width / 8)
