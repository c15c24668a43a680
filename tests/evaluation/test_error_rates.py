"""The detection curve against hand counts, a slow loop and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from ssps_plugin.evaluation.error_rates import (
    detection_curve,
    equal_error_rate,
    min_dcf,
)


def random_trials(seed, num_trials=2000, decimals=None, dtype=np.float64):
    """Overlapping targets and impostors; rounding makes ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, num_trials)
    scores = generator.normal(labels, 1.0)
    if decimals is not None:
        scores = scores.round(decimals)
    return scores.astype(dtype), labels


def operating_points_by_loop(scores, labels):
    """Every threshold in turn, every trial in turn."""
    pairs = list(zip(scores.tolist(), labels.tolist(), strict=True))
    num_targets = sum(label for _, label in pairs)
    points = []
    for threshold in [np.inf, *sorted(set(scores.tolist()), reverse=True)]:
        misses = sum(s < threshold and label == 1 for s, label in pairs)
        alarms = sum(s >= threshold and label == 0 for s, label in pairs)
        num_impostors = len(pairs) - num_targets
        points.append((threshold, misses / num_targets, alarms / num_impostors))
    return points


def eer_by_loop(points):
    for (_, miss, alarm), (_, next_miss, next_alarm) in zip(
        points, points[1:], strict=False
    ):
        if next_miss <= next_alarm:
            fraction = (miss - alarm) / (miss - alarm + next_alarm - next_miss)
            return alarm + fraction * (next_alarm - alarm)
    raise AssertionError("the rates never meet")


def min_dcf_by_loop(points, p_target, c_miss, c_fa):
    costs = [
        c_miss * p_target * miss + c_fa * (1 - p_target) * alarm
        for _, miss, alarm in points
    ]
    return min(costs) / min(c_miss * p_target, c_fa * (1 - p_target))


def test_counts_both_errors_at_every_distinct_score():
    curve = detection_curve([3.0, 1.0, 2.0, 0.0], [1, 1, 0, 0])
    assert curve.thresholds.tolist() == [np.inf, 3, 2, 1, 0]
    assert curve.miss_rate.tolist() == [1, 0.5, 0.5, 0, 0]
    assert curve.false_alarm_rate.tolist() == [0, 0, 0.5, 0.5, 1]


def test_a_tie_is_one_operating_point():
    curve = detection_curve([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0])
    assert curve.thresholds.tolist() == [np.inf, 0.5]
    assert curve.miss_rate.tolist() == [1, 0]
    assert curve.false_alarm_rate.tolist() == [0, 1]


def test_signed_zeros_tie():
    curve = detection_curve([0.0, -0.0], [1, 0])
    assert len(curve.thresholds) == 2


def test_eer_of_a_mixed_tie_lies_between_its_ends():
    # From (miss 1/2, alarm 0) straight to (miss 0, alarm 1/2).
    curve = detection_curve([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert curve.equal_error_rate()[0] == pytest.approx(0.25, abs=1e-15)


def test_eer_threshold_is_interpolated_with_the_rates():
    curve = detection_curve([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert curve.equal_error_rate()[1] == pytest.approx(0.7)


def test_separable_scores_make_no_error():
    curve = detection_curve([4.0, 3.0, 2.0, 1.0], [1, 1, 0, 0])
    assert curve.equal_error_rate() == (0.0, 3.0)
    assert curve.min_dcf(0.01) == (0.0, 3.0)


def test_reversed_scores_make_nothing_but_errors():
    curve = detection_curve([1.0, 2.0], [1, 0])
    assert curve.equal_error_rate()[0] == 1.0
    assert curve.min_dcf(0.01) == (1.0, np.inf)


def test_eer_of_scores_all_alike_is_a_half_at_that_score():
    eer = detection_curve([2.0] * 6, [1, 0, 1, 0, 0, 0]).equal_error_rate()
    assert eer == (0.5, 2.0)


def test_min_dcf_weighs_misses_by_the_prior():
    # Accepting only the best trial misses one target of two.
    curve = detection_curve([0.9, 0.8, 0.7], [1, 0, 1])
    assert curve.min_dcf(0.01) == (pytest.approx(0.5), 0.9)
    # Targets nearly certain: accept all at the cost of one false alarm.
    assert curve.min_dcf(0.99) == (pytest.approx(1.0), 0.7)


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("costs", [(0.01, 1, 1), (0.05, 1, 1), (0.5, 10, 3)])
def test_equals_a_loop_over_thresholds_and_trials(decimals, costs):
    scores, labels = random_trials(seed=3, num_trials=150, decimals=decimals)
    points = operating_points_by_loop(scores, labels)
    curve = detection_curve(scores, labels)
    assert curve.thresholds.tolist() == [point[0] for point in points]
    eer, _ = curve.equal_error_rate()
    assert eer == pytest.approx(eer_by_loop(points), abs=1e-12)
    cost, _ = curve.min_dcf(*costs)
    assert cost == pytest.approx(min_dcf_by_loop(points, *costs), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed, decimals, dtype):
    scores, labels = random_trials(seed, decimals=decimals, dtype=dtype)
    alarm, hit, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    curve = detection_curve(scores, labels)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.miss_rate, 1 - hit, atol=1e-12)
    np.testing.assert_allclose(curve.false_alarm_rate, alarm, atol=1e-12)
    points = list(zip(thresholds, 1 - hit, alarm, strict=True))
    eer, _ = curve.equal_error_rate()
    assert eer == pytest.approx(eer_by_loop(points), abs=1e-12)


def test_order_of_trials_does_not_matter():
    scores, labels = random_trials(seed=5, decimals=1)
    order = np.random.default_rng(0).permutation(len(scores))
    one = detection_curve(scores, labels)
    other = detection_curve(scores[order], labels[order])
    assert one.equal_error_rate() == other.equal_error_rate()
    assert one.min_dcf() == other.min_dcf()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16]
)
def test_tensors_give_what_their_values_give(dtype):
    scores, labels = random_trials(seed=6, num_trials=300)
    tensor = torch.tensor(scores, dtype=dtype, requires_grad=True)
    values = tensor.detach().double().numpy()
    from_tensor = detection_curve(tensor, torch.tensor(labels).bool())
    from_array = detection_curve(values, labels)
    assert from_tensor.equal_error_rate() == from_array.equal_error_rate()


def test_error_rates_and_thresholds_are_plain_floats():
    curve = detection_curve(np.float32([1.0, 0.0]), [1, 0])
    for value in (*curve.equal_error_rate(), *curve.min_dcf()):
        assert type(value) is float


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [1, 1], "2 targets and 0 impostors"),
        ([0.1, 0.2], [0, 0], "0 targets and 2 impostors"),
        ([], [], "0 targets and 0 impostors"),
        ([0.1, float("nan")], [0, 1], "1 of 2 that are NaN"),
        ([0.1, float("inf")], [0, 1], "1 of 2 that are NaN or infinite"),
        ([0.1, 0.2, 0.3], [0, 1], r"got \(3,\) and \(2,\)"),
        ([[0.1], [0.2]], [[0], [1]], r"got \(2, 1\)"),
        ([0.1, 0.2, 0.3], [0, 1, 2], "labels of 1 .* got .*2"),
        ([0.1, 0.2], [1, -1], "labels of 1 .* got .*-1"),
    ],
)
def test_refuses_what_has_no_error_rate(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        detection_curve(np.array(scores), np.array(labels))


@pytest.mark.parametrize("p_target", [0, 1, -0.1, float("nan")])
def test_refuses_a_prior_that_is_no_probability(p_target):
    curve = detection_curve([1.0, 0.0], [1, 0])
    with pytest.raises(
        ValueError, match="Expected a probability .* as p_target"
    ):
        curve.min_dcf(p_target)


def test_refuses_a_cost_of_nothing():
    curve = detection_curve([1.0, 0.0], [1, 0])
    with pytest.raises(
        ValueError, match="Expected costs above 0 as c_miss and c_fa"
    ):
        curve.min_dcf(c_miss=0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_the_threshold_of_a_false_acceptance_rate_is_the_most_lenient(rate):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    scores = np.round(rng.normal(size=60) + labels, 1)  # with ties
    threshold = detection_curve(scores, labels).threshold_at(rate)
    impostors = scores[~labels]
    assert (impostors >= threshold).mean() <= rate
    lower = scores[scores < threshold]
    if len(lower):
        assert (impostors >= lower.max()).mean() > rate


def test_a_false_acceptance_rate_out_of_range_is_an_error():
    curve = detection_curve([0.1, 0.9], [0, 1])
    with pytest.raises(ValueError, match="Expected a fraction in"):
        curve.threshold_at(1.5)


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
