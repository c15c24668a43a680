"""Scores are read whole, and thinned out without moving a curve."""

import json

import numpy as np
import pytest
from scipy.special import ndtri

from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.report.run import Run
from ssps_plugin.report.scored_trials import (
    density,
    load_scored_lists,
    score_range,
    thin_curve,
)
from tests.report.conftest import write_run, write_trials

TRIALS = [(1, "a", "b"), (0, "a", "c"), (1, "b", "d"), (0, "c", "d")]


def test_scores_and_labels_are_those_of_the_files(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, TRIALS, [0.9, 0.2, 0.4, 0.5])
    (scored,) = load_scored_lists(Run(folder))
    assert scored.scores.tolist() == pytest.approx([0.9, 0.2, 0.4, 0.5])
    assert scored.labels.tolist() == [1, 0, 1, 0]
    assert scored.eer_percent == pytest.approx(50.0)


def test_list_without_labels_has_scores_and_a_reason(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, [(None, "a", "b"), (None, "a", "c")], [0.9, 0.2])
    (scored,) = load_scored_lists(Run(folder))
    assert scored.labels is None and scored.curve is None
    assert "no labels" in scored.missing


@pytest.mark.parametrize("change", ["gone", "other"])
def test_list_that_is_gone_or_another_one_gives_no_labels(tmp_path, change):
    folder = write_run(tmp_path / "run")
    path = write_trials(folder, TRIALS, [0.9, 0.2, 0.4, 0.5])
    results = json.loads((folder / "results.json").read_text())
    results["trial_list_sha256"] = "0" * 64
    (folder / "results.json").write_text(json.dumps(results))
    if change == "gone":
        path.unlink()
    (scored,) = load_scored_lists(Run(folder))
    assert scored.labels is None
    expected = "is not there" if change == "gone" else "another one"
    assert expected in scored.missing


def test_lists_that_were_verified_later_come_after(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, TRIALS, [0.9, 0.2, 0.4, 0.5])
    other = folder / "verify" / "other"
    other.mkdir(parents=True)
    write_trials(other, TRIALS[:2], [0.9, 0.2])
    names = [len(one.scores) for one in load_scored_lists(Run(folder))]
    assert names == [4, 2]


@pytest.mark.parametrize(
    "text", ["0.5 a b\n\n", "nan a b\n", "x a b\n", "\xff"]
)
def test_damaged_scores_are_refused_with_the_file(tmp_path, text):
    folder = write_run(tmp_path / "run")
    (folder / "scores.txt").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="Expected .*scores.txt"):
        load_scored_lists(Run(folder))


def test_scores_of_another_number_of_trials_are_refused(tmp_path):
    folder = write_run(tmp_path / "run")
    write_trials(folder, TRIALS, [0.9, 0.2, 0.4, 0.5])
    lines = (folder / "scores.txt").read_text().splitlines(keepends=True)
    (folder / "scores.txt").write_text("".join(lines[:3]))
    with pytest.raises(ValueError, match="each of 4 trials"):
        load_scored_lists(Run(folder))


def test_thin_curve_passes_through_the_whole_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50_000)
    curve = detection_curve(rng.normal(labels * 2.0), labels)
    thin = thin_curve(curve)
    assert 300 < len(thin.miss_rate) <= 400
    points = set(zip(curve.false_alarm_rate, curve.miss_rate, strict=True))
    assert points.issuperset(zip(*thin, strict=True))
    # No gap is wider than a few pixels of a chart of 6 units.
    gaps = np.hypot(*(np.diff(ndtri(one)) for one in thin))
    assert gaps.max() < 0.5 and np.median(gaps) < 0.05


def test_curve_without_an_error_has_no_points():
    thin = thin_curve(detection_curve([0.9, 0.1], [1, 0]))
    assert len(thin.miss_rate) == len(thin.false_alarm_rate) == 0


def test_density_has_area_one_with_tails_in_the_outer_bins():
    scores = np.array([-5.0, 0.1, 0.2, 0.9, 7.0])
    centres, values = density(scores, (0.0, 1.0), 4)
    assert centres.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert values.sum() / 4 == pytest.approx(1.0)
    assert (values * 5 / 4).round(6).tolist() == [3, 0, 0, 2]


def test_range_of_equal_scores_is_not_empty():
    low, high = score_range(np.zeros(3))
    assert low < 0 < high
