"""Scores of trials: read from a run, and thinned out until a page holds them.

A list of half a million trials has as many operating points. A chart shows a
few hundred: the others fall on the same pixels.
"""

from __future__ import annotations

import hashlib
import math
import pathlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ssps_plugin.evaluation.error_rates import DetectionCurve, detection_curve
from ssps_plugin.evaluation.trial_list import TrialList, read_trials
from ssps_plugin.report.run import Run, read_json

# Points of a DET curve, and bins of a histogram, that a chart can show.
_NUM_POINTS = 400
_MOST_BINS, _FEWEST_BINS = 80, 24
# Scores beyond this fraction of trials, on each side, make no bins.
_TAIL = 0.0005
_LINES_PER_BLOCK = 2**16

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ScoredTrials:
    """Scores of one model on one trial list.

    Arguments
    ---------
    scores : numpy.ndarray
        `(trials,)`.
    labels : numpy.ndarray or None
        `(trials,)`, 1 for a target trial and 0 for an impostor trial; None
        where there are not both of them.
    list_name : str
        The name of the list.
    sha256 : str
        The digest of the list, to know it by.
    results : dict
        The error rates as the run wrote them, empty if it did not.
    missing : str
        Why there are no labels, empty if there are.

    Example
    -------
    >>> scored = ScoredTrials(np.array([0.9, 0.1]), np.array([1, 0]), "o", "")
    >>> scored.eer_percent
    0.0
    """

    scores: Floats
    labels: NDArray[np.integer[Any]] | None
    list_name: str
    sha256: str
    results: dict[str, Any] | None = None
    missing: str = ""

    @cached_property
    def curve(self) -> DetectionCurve | None:
        """The detection curve, None without labels."""
        if self.labels is None:
            return None
        return detection_curve(self.scores, self.labels)

    @property
    def eer_percent(self) -> float | None:
        """The equal error rate, None without labels."""
        if self.curve is None:
            return None
        return 100 * self.curve.equal_error_rate()[0]


def load_scored_lists(run: Run) -> list[ScoredTrials]:
    """Load the scores of a run, one entry for each trial list.

    The final model's come first, then those that were scored later
    (`verify/<list>`). A list that was scored twice counts once: its latest
    scores.

    Arguments
    ---------
    run : Run
        The run.

    Returns
    -------
    list of ScoredTrials
        Empty where nothing was scored.

    Raises
    ------
    ValueError
        A file of scores is damaged.
    """
    folders = [run.folder, *sorted((run.folder / "verify").glob("*"))]
    found: dict[str, ScoredTrials] = {}
    for folder in folders:
        if (folder / "scores.txt").is_file():
            scored = _load_scored(run, folder)
            found[scored.sha256 or str(folder)] = scored
    return list(found.values())


def digest_of(path: pathlib.Path) -> str:
    """Return the SHA-256 of a trial list."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=2)
def read_trials_once(path: pathlib.Path, digest: str) -> TrialList:
    """Read a trial list that several runs have in common.

    Arguments
    ---------
    path : pathlib.Path
        The list.
    digest : str
        From `digest_of`: another content is another list.

    Returns
    -------
    TrialList
    """
    return read_trials(path)


def _load_scored(run: Run, folder: pathlib.Path) -> ScoredTrials:
    """Load the scores in a folder, and the labels of their list."""
    path = folder / "scores.txt"
    results = read_json(folder / "results.json")
    scores = _read_scores(path)
    given = results.get("trial_list")
    sha256 = results.get("trial_list_sha256") or ""
    name = pathlib.Path(str(given or "trials.txt")).name
    trial_list = run.find(given)
    labels, missing = None, f"the trial list {given} is not there any more"
    if trial_list is not None and trial_list.is_file():
        digest = digest_of(trial_list)
        if sha256 in ("", digest):
            sha256 = digest
            labels, missing = _labels_of(read_trials_once(trial_list, digest))
        else:
            missing = f"the trial list {given} is another one by now"
    if labels is not None and len(labels) != len(scores):
        raise ValueError(
            f"Expected a score for each of {len(labels)} trials of "
            f"{trial_list} in {path}, got {len(scores)}: verify the run again."
        )
    return ScoredTrials(scores, labels, name, sha256, results, missing)


def _labels_of(
    trials: TrialList,
) -> tuple[NDArray[np.uint8] | None, str]:
    """Return the labels of a list; None, and why, without both kinds."""
    missing = trials.missing_labels()
    return (None if missing else trials.labels), missing


def _read_scores(path: pathlib.Path) -> Floats:
    """Read the first field of every line."""
    blocks = []
    try:
        with open(path, encoding="utf-8") as file:
            while lines := list(islice(file, _LINES_PER_BLOCK)):
                fields = [line.split(None, 1)[0] for line in lines]
                blocks.append(np.array(fields, dtype=np.float32))
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"Expected lines of `score enrol test` in {path}, got {error}: "
            "verify the run again."
        ) from None
    scores = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"Expected finite scores in {path}, got others: verify the run "
            "again."
        )
    return scores


class ThinCurve(NamedTuple):
    """A few hundred points of a detection curve, rates in (0, 1)."""

    false_alarm_rate: Floats
    miss_rate: Floats


def thin_curve(
    curve: DetectionCurve, num_points: int = _NUM_POINTS
) -> ThinCurve:
    """Choose the points of a detection curve that a DET chart shows.

    They are evenly spaced along the curve as it is drawn, on probit axes.

    Arguments
    ---------
    curve : DetectionCurve
        With any number of points.
    num_points : int
        How many to keep at most.

    Returns
    -------
    ThinCurve
        Both rates are above 0 and below 1: a probit axis has no 0.

    Example
    -------
    >>> curve = detection_curve([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    >>> thin_curve(curve).miss_rate.tolist()
    [0.5]
    """
    miss, false_alarm = curve.miss_rate, curve.false_alarm_rate
    inside = (miss > 0) & (miss < 1) & (false_alarm > 0) & (false_alarm < 1)
    if not inside.any():  # without an error, or with nothing between
        return ThinCurve(np.empty(0), np.empty(0))
    miss, false_alarm = miss[inside], false_alarm[inside]
    steps = np.hypot(np.diff(ndtri(miss)), np.diff(ndtri(false_alarm)))
    length = np.append(0.0, np.cumsum(steps))
    wanted = np.linspace(0.0, length[-1], num_points)
    chosen = np.unique(np.searchsorted(length, wanted).clip(max=len(miss) - 1))
    return ThinCurve(false_alarm[chosen], miss[chosen])


def score_range(*scores: Floats) -> tuple[float, float]:
    """Return the range that shows all scores but a few of the tails."""
    lows, highs = [], []
    for some in scores:
        low, high = np.quantile(some, (_TAIL, 1 - _TAIL))
        lows.append(float(low))
        highs.append(float(high))
    low, high = min(lows), max(highs)
    margin = 0.02 * (high - low) or 0.05
    return low - margin, high + margin


def num_bins_for(num_scores: int) -> int:
    """Return how many bins show the shape of so many scores, not their noise.

    Example
    -------
    >>> num_bins_for(10), num_bins_for(1000), num_bins_for(500_000)
    (24, 31, 80)
    """
    return max(_FEWEST_BINS, min(_MOST_BINS, math.isqrt(num_scores)))


def density(
    scores: Floats, limits: tuple[float, float], num_bins: int | None = None
) -> tuple[Floats, Floats]:
    """Compute a histogram whose area is 1, whatever the number of scores.

    Arguments
    ---------
    scores : numpy.ndarray
        `(num,)`; those outside the limits count in the first and last bin.
    limits : tuple of float
        Start of the first bin, and end of the last.
    num_bins : int, optional
        Number of bins; by default, the fewer the scores the fewer the bins.

    Returns
    -------
    centres : numpy.ndarray
        `(num_bins,)`.
    densities : numpy.ndarray
        `(num_bins,)`.

    Example
    -------
    >>> centres, densities = density(np.array([0.1, 0.2, 0.9]), (0.0, 1.0), 2)
    >>> centres.tolist(), (densities * 3).round(6).tolist()
    ([0.25, 0.75], [4.0, 2.0])
    """
    if num_bins is None:
        num_bins = num_bins_for(len(scores))
    edges = np.linspace(*limits, num_bins + 1)
    counts, _ = np.histogram(np.clip(scores, *limits), edges)
    width = (limits[1] - limits[0]) / num_bins
    return (edges[1:] + edges[:-1]) / 2, counts / (len(scores) * width)
