"""Files that a run leaves behind: history, scores, results and curves."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.evaluation.bootstrap import bootstrap_intervals
from ssps_plugin.evaluation.error_rates import DetectionCurve, detection_curve
from ssps_plugin.evaluation.plots import PLOTTED_METRICS, plot_curves
from ssps_plugin.evaluation.scoring import Cohort
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    describe_file_kind,
    trial_lines,
)
from ssps_plugin.evaluation.verification import (
    Verification,
    VerificationResult,
)

logger = get_logger(__name__)

# Names of the detection costs in results, and their p_target: the two priors
# that VoxCeleb's papers report.
_MIN_DCFS = {"min_dcf_p01": 0.01, "min_dcf_p05": 0.05}


class History:
    """Metrics by epoch, saved after each one and read again by a resume.

    Arguments
    ---------
    path : str or os.PathLike
        JSON file, a list of one mapping per epoch.

    Raises
    ------
    ValueError
        The file is damaged: it is no such list.

    Example
    -------
    >>> path = getfixture("tmp_path") / "history.json"
    >>> History(path).record({"epoch": 1, "loss": 2.0})
    >>> History(path).rows
    [{'epoch': 1, 'loss': 2.0}]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        if os.path.lexists(self.path):
            self.rows = _read_history(self.path)

    def warn_missing_epochs(self, last_epoch: int) -> None:
        """Warn of epochs that a resumed run has done and that are not here.

        Those before the first epoch of the history are not missed, unless
        there is none: a warm start begins late.

        Arguments
        ---------
        last_epoch : int
            The last epoch that the run has finished; 0 for a new run.
        """
        epochs = {row["epoch"] for row in self.rows}
        first = min(epochs, default=1)
        missing = [e for e in range(first, last_epoch + 1) if e not in epochs]
        # All of it lies after what the run has done: it is not of this run.
        if first > last_epoch > 0:
            missing = [*range(1, last_epoch + 1)]
        if missing:
            logger.warning(
                "%s has no metrics of %d of the %d epochs that this run has "
                "done (the first missing: %d), as where the file was deleted: "
                "they stay missing in it and in curves.png. The model is not "
                "affected.",
                self.path,
                len(missing),
                last_epoch,
                missing[0],
            )

    def record(self, row: dict[str, Any]) -> None:
        """Add an epoch; replace the same one and all later ones.

        Arguments
        ---------
        row : dict
            The metrics, and `epoch`.
        """
        earlier = [old for old in self.rows if old["epoch"] < row["epoch"]]
        self.rows = [*earlier, row]
        with atomic_write(self.path) as file:
            file.write(json.dumps(self.rows, indent=1))

    def at(self, epoch: int) -> dict[str, Any]:
        """Return the metrics of an epoch, an empty dict if there are none."""
        return next((row for row in self.rows if row["epoch"] == epoch), {})


def _read_history(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a history; raise if they are not what was written."""
    kind = describe_file_kind(path)
    if kind:
        raise _damaged_history(path, kind)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # unicode errors, too
        raise _damaged_history(path, str(error)) from None
    if not isinstance(rows, list):
        raise _damaged_history(path, f"a {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        if not _is_epoch(row):
            raise _damaged_history(path, f"{str(row)[:80]!r} as row {number}")
    return rows


def _is_epoch(row: object) -> bool:
    """Whether a row has an epoch, and numbers where numbers are drawn."""
    if not isinstance(row, dict) or not _is_small_integer(row.get("epoch")):
        return False
    drawn = (row.get(key) for key in PLOTTED_METRICS)
    return all(
        value is None or type(value) is float or _is_small_integer(value)
        for value in drawn
    )


def _is_small_integer(value: object) -> bool:
    """Whether a value can be an epoch or a count; no more can be drawn."""
    return type(value) is int and 0 <= value < 2**31


def _damaged_history(path: Path, problem: str) -> ValueError:
    return ValueError(
        f"Expected a list of one mapping per epoch in {path}, got {problem}: "
        "the file is damaged. Move it away to go on without the metrics of the "
        "epochs before (the model is not affected), or put a copy of it back."
    )


def write_scores(
    path: str | os.PathLike[str],
    scores: ArrayLike | Tensor,
    trials: TrialList,
) -> None:
    """Write a line `score enrol test` per trial.

    With nine significant digits, a float32 score is read back unchanged, so
    the error rates can be recomputed from the file exactly. Tabs separate the
    fields of a line in which a name holds white space.

    Arguments
    ---------
    path : str or os.PathLike
        The file.
    scores : array or torch.Tensor
        `(trials,)`.
    trials : TrialList
        The trials that were scored.

    Raises
    ------
    ValueError
        There is not one score per trial.
    """
    values = torch.as_tensor(scores).flatten().tolist()
    if len(values) != len(trials):
        raise ValueError(
            f"Expected a score for each of {len(trials)} trials, "
            f"got {len(values)}: give the list that was scored."
        )
    with atomic_write(path) as file:
        file.writelines(trial_lines(trials, map("{:.9g}".format, values)))


def verification_results(
    scores: ArrayLike | Tensor,
    trials: TrialList,
    *,
    trial_list: str | os.PathLike[str],
    trial_list_sha256: str | None = None,
    config: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    averaged_epochs: int = 1,
    coverage: float | None = None,
    true_positives: bool = False,
    reference_encoder: str | Sequence[str] | None = None,
    git_commit: str | None = None,
    cohort_size: int = 0,
    num_resamples: int = 0,
    false_acceptance_rate: float | None = None,
) -> dict[str, Any]:
    """Compute the error rates of a run; add what is needed to repeat it.

    Arguments
    ---------
    scores : array or torch.Tensor
        `(trials,)`.
    trials : TrialList
        The trials that were scored.
    trial_list : str or os.PathLike
        The file that the trials were read from.
    trial_list_sha256 : str, optional
        The digest of that file, to recognise the list by.
    config : str or os.PathLike, optional
        The YAML file of the run.
    seed : int, optional
        The seed of the run.
    epochs : int, optional
        Number of epochs that the model was trained for.
    averaged_epochs : int
        Number of epochs whose weights were averaged.
    coverage : float, optional
        Fraction of anchors that got a pseudo-positive in the last epoch.
    true_positives : bool
        Whether training read labels, for an upper bound.
    reference_encoder : str or sequence of str, optional
        What embedded the references, if other encoders did.
    git_commit : str, optional
        The commit that the run was started at; that of the checkout now, by
        default.
    cohort_size : int
        Number of utterances that the scores were normalised by, 0 for none.
    num_resamples : int
        Number of resamples of the bootstrap, 0 for no confidence intervals.
    false_acceptance_rate : float, optional
        Also give the threshold that keeps this rate.

    Returns
    -------
    dict
        `config`, `git_commit` (null if the package is not run from a
        checkout), `package_version`, `seed`, `epochs`, `averaged_epochs`,
        `trial_list`, `trial_list_sha256`, `num_trials`, `num_target_trials`,
        `num_impostor_trials`, `eer_percent`, `eer_threshold`, `min_dcf_p01`,
        `min_dcf_p01_threshold`, the same two for `p05` (p_target 0.01 and
        0.05), `coverage`, `true_positives`, `reference_encoder`,
        `cohort_size`. A threshold that no score reaches is null. If asked for:
        `eer_percent_interval`, `min_dcf_p01_interval` and
        `min_dcf_p05_interval` (95 %, see `bootstrap_intervals`);
        `false_acceptance_rate` and `threshold`. Where the trials have no
        labels, or those of one kind only, all error rates, thresholds and
        intervals are null; without labels, so are the numbers of target and of
        impostor trials.

    Raises
    ------
    ValueError
        A score is not finite, a label is neither 0 nor 1, there is not one
        score per trial, or a number is out of its range.

    Example
    -------
    >>> trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
    >>> results = verification_results([0.9, 0.2], trials, trial_list="o.txt")
    >>> results["num_trials"], results["eer_percent"], results["min_dcf_p01"]
    (2, 0.0, 0.0)
    """
    num_targets, num_impostors = trials.count_labels() or (None, None)
    results: dict[str, Any] = {
        "config": None if config is None else os.fspath(config),
        "git_commit": git_commit or package_commit(),
        "package_version": package_version(),
        "seed": seed,
        "epochs": epochs,
        "averaged_epochs": averaged_epochs,
        "trial_list": os.fspath(trial_list),
        "trial_list_sha256": trial_list_sha256,
        "num_trials": len(trials),
        "num_target_trials": num_targets,
        "num_impostor_trials": num_impostors,
        **_error_rates(scores, trials),
        "coverage": coverage,
        "true_positives": true_positives,
        "reference_encoder": reference_encoder,
        "cohort_size": cohort_size,
    }
    if false_acceptance_rate is not None:
        results["false_acceptance_rate"] = false_acceptance_rate
        results["threshold"] = _threshold_at(
            scores, trials, false_acceptance_rate
        )
    if num_resamples:
        results |= _confidence_intervals(scores, trials, num_resamples)
    return results


def _error_rates(
    scores: ArrayLike | Tensor, trials: TrialList
) -> dict[str, float | None]:
    """Compute EER, minDCF and their thresholds; None where labels lack."""
    rates: dict[str, float | None] = {"eer_percent": None}
    rates["eer_threshold"] = None
    for name in _MIN_DCFS:
        rates |= {name: None, f"{name}_threshold": None}
    curve = _find_curve(scores, trials)
    if curve is None:
        return rates
    eer, rates["eer_threshold"] = curve.equal_error_rate()
    rates["eer_percent"] = 100 * eer
    for name, p_target in _MIN_DCFS.items():
        rates[name], threshold = curve.min_dcf(p_target)
        rates[f"{name}_threshold"] = _null_if_infinite(threshold)
    return rates


def _find_curve(
    scores: ArrayLike | Tensor, trials: TrialList
) -> DetectionCurve | None:
    """Compute the detection curve; None where trials have no error rates."""
    if trials.labels is not None and not trials.missing_labels():
        return detection_curve(scores, trials.labels)
    values = torch.as_tensor(scores)
    if values.shape != (len(trials),) or not values.isfinite().all():
        raise ValueError(
            f"Expected a finite score for each of {len(trials)} trials, got "
            f"{int(values.isfinite().sum())} of shape {tuple(values.shape)}: "
            "give the scores of this list, and check the embeddings."
        )
    return None


def _threshold_at(
    scores: ArrayLike | Tensor, trials: TrialList, rate: float
) -> float | None:
    curve = _find_curve(scores, trials)
    return (
        None if curve is None else _null_if_infinite(curve.threshold_at(rate))
    )


def _null_if_infinite(threshold: float) -> float | None:
    """Return a threshold, None if it is infinite: JSON has no infinity."""
    return threshold if math.isfinite(threshold) else None


def _confidence_intervals(
    scores: ArrayLike | Tensor, trials: TrialList, num_resamples: int
) -> dict[str, list[float] | None]:
    if trials.labels is None or trials.missing_labels():
        names = ("eer_percent", *_MIN_DCFS)
        return {f"{name}_interval": None for name in names}
    intervals = bootstrap_intervals(
        scores, trials.labels, tuple(_MIN_DCFS.values()), num_resamples
    )
    eer_percent = [100 * end for end in intervals["eer"]]
    found: dict[str, list[float] | None] = {"eer_percent_interval": eer_percent}
    for name, p_target in _MIN_DCFS.items():
        found[f"{name}_interval"] = list(intervals[f"min_dcf_{p_target}"])
    return found


def package_version() -> str | None:
    """Return the version of the installed package, None if there is none."""
    try:
        return version("ssps_plugin")
    except PackageNotFoundError:
        return None


def package_commit() -> str | None:
    """Return the commit of the checkout that the package runs from, or None.

    `-dirty` is appended if tracked files differ from that commit.
    """
    folder = Path(__file__).resolve().parent
    # A package installed inside somebody's repository is not tracked by it.
    if _run_git(folder, "ls-files", Path(__file__).name) is None:
        return None
    return _run_git(
        folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"
    )


def _run_git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None if that is nothing, or git fails."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def write_results(
    path: str | os.PathLike[str], results: Mapping[str, Any]
) -> None:
    """Write results as JSON, whole or not at all.

    Numpy and torch scalars become plain numbers.

    Arguments
    ---------
    path : str or os.PathLike
        The JSON file.
    results : mapping
        From `verification_results`; more entries may be added.

    Raises
    ------
    ValueError
        A number is not finite.
    TypeError
        A value cannot be written as JSON.
    """
    text = json.dumps(
        dict(results), indent=2, allow_nan=False, default=_plain_scalar
    )
    with atomic_write(path) as file:
        file.write(text + "\n")


def _plain_scalar(value: object) -> int | float | bool:
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(
            f"Expected plain values in the results, got {type(value)}: change "
            "the value."
        )
    return item()


def results_folder(
    output_folder: str | os.PathLike[str], verification: Verification
) -> Path:
    """Return the folder for the results of one of several trial lists.

    Arguments
    ---------
    output_folder : str or os.PathLike
        Of the run.
    verification : Verification
        Its list's name becomes the folder's name.

    Returns
    -------
    pathlib.Path
        `<output_folder>/verify/<name of the list>`; with the first digits of
        the list's digest after the name, where that folder, or one that
        differs in upper and lower case only, holds the results of another
        list.
    """
    name = verification.path.stem
    if not name.strip("."):  # `..txt` is no name of a folder
        name = "trials"
    parent = Path(output_folder, "verify")
    digest = verification.sha256
    taken: list[Path] = []
    for suffix in ("", f"-{digest[:8]}", f"-{digest}"):
        folder = parent / f"{name}{suffix}"
        others = _find_other_results(folder, verification)
        if not others:
            break
        taken += others
    if taken:
        logger.info(
            "Results of the trial list %s go to %s, since %s holds those of "
            "another list of that name",
            verification.path,
            folder,
            taken[0],
        )
    return folder


def _find_other_results(folder: Path, verification: Verification) -> list[Path]:
    """Find folders of that name, in any case, with another list's results.

    Some file systems take names that differ in case for one name.
    """
    parent, name = folder.parent, folder.name.casefold()
    present = parent.iterdir() if parent.is_dir() else iter(())
    return [
        path
        for path in sorted(present)
        if path.name.casefold() == name
        and not _holds_results_of(path / "results.json", verification)
    ]


def _holds_results_of(path: Path, verification: Verification) -> bool:
    """Whether results are of the same list, or of none that is known."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True  # none, or damaged: they can be made again
    if not isinstance(results, dict):
        return True
    digest = results.get("trial_list_sha256")
    if digest is None:  # written by an earlier version
        trial_list = results.get("trial_list")
        return trial_list in (None, os.fspath(verification.path))
    return bool(digest == verification.sha256)


def run_settings(
    hparams: Mapping[str, Any], cohort: Cohort | None
) -> dict[str, Any]:
    """Return the arguments of `verification_results` that a run's YAML holds.

    Arguments
    ---------
    hparams : mapping
        `seed`, `true_positives`, `reference_encoder` (may be missing),
        `num_resamples` and `false_acceptance_rate` of the recipe.
    cohort : Cohort or None
        What the scores were normalised by.

    Returns
    -------
    dict
    """
    return {
        "seed": hparams["seed"],
        "true_positives": hparams["true_positives"],
        "reference_encoder": hparams.get("reference_encoder"),
        "cohort_size": 0 if cohort is None else len(cohort.files),
        "num_resamples": hparams["num_resamples"],
        "false_acceptance_rate": hparams["false_acceptance_rate"],
    }


def write_verification(
    folder: str | os.PathLike[str],
    verification: Verification,
    result: VerificationResult,
    **settings: Any,
) -> dict[str, Any]:
    """Write `scores.txt` and `results.json`, and log the error rates.

    Arguments
    ---------
    folder : str or os.PathLike
        Where they are written; made if it does not exist.
    verification : Verification
        The trials.
    result : VerificationResult
        Their scores.
    **settings
        As for `verification_results`, without `trial_list` and its digest.

    Returns
    -------
    dict
        What `results.json` holds.
    """
    folder = Path(folder)
    write_scores(folder / "scores.txt", result.scores, verification.trials)
    results = verification_results(
        result.scores,
        verification.trials,
        trial_list=verification.path,
        trial_list_sha256=verification.sha256,
        **settings,
    )
    write_results(folder / "results.json", results)
    if verification.missing_labels:
        logger.info(
            "%d trials of %s: scored in %s, without error rates, since %s",
            results["num_trials"],
            results["trial_list"],
            folder / "scores.txt",
            verification.missing_labels,
        )
        return results
    logger.info(
        "%d trials of %s: EER %.2f %%, minDCF(0.01) %.4f, minDCF(0.05) %.4f",
        results["num_trials"],
        results["trial_list"],
        results["eer_percent"],
        results["min_dcf_p01"],
        results["min_dcf_p05"],
    )
    return results


def _warn_nothing_drawn(
    rows: Sequence[Mapping[str, Any]], start_epoch: int
) -> None:
    """Warn if no epoch of SSPS substituted anything, though it was to."""
    asked = [
        row["coverage"]
        for row in rows_of_ssps(rows, start_epoch)
        if row.get("confident") != 0
    ]
    if not asked or max(asked) > 0:
        return
    sure = rows_of_ssps(rows, start_epoch)[-1].get("sure_draws")
    if sure is not None:
        logger.info(
            "SSPS did not begin (coverage auto; %.0f %% of the draws were sure "
            "when that was weighed last): what was trained is the run without "
            "it. The log says why, from epoch %d on.",
            100 * sure,
            start_epoch,
        )
    else:
        logger.warning(
            "SSPS was on in %d epochs and substituted nothing in any: what was "
            "trained is the run without it. The log says of each epoch why; "
            "draws by shared neighbours need references of two epochs "
            "(reference_interval, last_reference_epoch).",
            len(asked),
        )


def first_covered_epoch(
    rows: Sequence[Mapping[str, Any]], start_epoch: int = 1
) -> int | None:
    """Return the first epoch with a pseudo-positive, None without any.

    It may be later than SSPS was to start, with `coverage: auto`.

    Arguments
    ---------
    rows : sequence of mapping
        Metrics by epoch, as in `History`.
    start_epoch : int
        The first epoch to look at.

    Example
    -------
    >>> rows = [{"epoch": 6, "coverage": 0.0}, {"epoch": 7, "coverage": 0.4}]
    >>> first_covered_epoch(rows, start_epoch=6)
    7
    """
    covered = (
        row["epoch"]
        for row in rows_of_ssps(rows, start_epoch)
        if row["coverage"]
    )
    return min(covered, default=None)


def rows_of_ssps(
    rows: Sequence[Mapping[str, Any]], start_epoch: int
) -> list[Mapping[str, Any]]:
    """Return the epochs of SSPS of which the coverage is known."""
    return [
        row for row in rows if row["epoch"] >= start_epoch and "coverage" in row
    ]


def summarize_training(
    folder: str | os.PathLike[str],
    history: History,
    start_epoch: int | None,
    result: VerificationResult | None = None,
) -> None:
    """Draw `curves.png`, and log the EER before SSPS and at the end.

    Arguments
    ---------
    folder : str or os.PathLike
        The output folder.
    history : History
        Metrics by epoch.
    start_epoch : int or None
        First epoch with SSPS, None without SSPS.
    result : VerificationResult, optional
        Of the model that training ends with.
    """
    if not history.rows:
        return
    if start_epoch is not None:
        _warn_nothing_drawn(history.rows, start_epoch)
        if rows_of_ssps(history.rows, start_epoch):
            start_epoch = first_covered_epoch(history.rows, start_epoch)
    plot_curves(history.rows, Path(folder, "curves.png"), start_epoch)
    if start_epoch is None or result is None or result.eer is None:
        return
    last_epoch = history.rows[-1]["epoch"]
    before = history.at(start_epoch - 1).get("eer")
    if last_epoch >= start_epoch and before is not None:
        ratio = 100 * result.eer / before if before else None
        logger.info(
            "SSPS was switched on after epoch %d: EER %.2f %% then, %.2f %% "
            "at the end, after epoch %d%s",
            start_epoch - 1,
            before,
            100 * result.eer,
            last_epoch,
            "" if ratio is None else f" ({ratio:.2f} times as much)",
        )
