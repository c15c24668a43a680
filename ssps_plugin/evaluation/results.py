"""Files that a run leaves behind: history, scores, results and curves."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.evaluation.bootstrap import bootstrap_intervals
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.plots import plot_curves
from ssps_plugin.evaluation.scoring import Cohort
from ssps_plugin.evaluation.trial_list import TrialList
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
        if self.path.exists():
            self.rows = json.loads(self.path.read_text(encoding="utf-8"))

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


def write_scores(
    path: str | os.PathLike[str],
    scores: ArrayLike | Tensor,
    trials: TrialList,
) -> None:
    """Write a line `score enrol test` per trial.

    With nine significant digits, a float32 score is read back unchanged, so
    the error rates can be recomputed from the file exactly.

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
    rows = zip(values, trials.pairs(), strict=True)
    with atomic_write(path) as file:
        file.writelines(
            f"{score:.9g} {enrol} {test}\n" for score, (enrol, test) in rows
        )


def verification_results(
    scores: ArrayLike | Tensor,
    trials: TrialList,
    *,
    trial_list: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    averaged_epochs: int = 1,
    coverage: float | None = None,
    true_positives: bool = False,
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
        `trial_list`, `num_trials`, `eer_percent`, `eer_threshold`,
        `min_dcf_p01`, `min_dcf_p01_threshold`, the same two for `p05`
        (p_target 0.01 and 0.05), `coverage`, `true_positives`, `cohort_size`.
        A threshold that no score reaches is null. If asked for:
        `eer_percent_interval`, `min_dcf_p01_interval` and
        `min_dcf_p05_interval` (95 %, see `bootstrap_intervals`);
        `false_acceptance_rate` and `threshold`.

    Raises
    ------
    ValueError
        The trials have no error rates, or a number is out of its range.

    Example
    -------
    >>> trials = TrialList.from_names([1, 0], ["a", "a"], ["b", "c"])
    >>> results = verification_results([0.9, 0.2], trials, trial_list="o.txt")
    >>> results["num_trials"], results["eer_percent"], results["min_dcf_p01"]
    (2, 0.0, 0.0)
    """
    curve = detection_curve(scores, trials.labels)
    eer, eer_threshold = curve.equal_error_rate()
    results: dict[str, Any] = {
        "config": None if config is None else os.fspath(config),
        "git_commit": package_commit(),
        "package_version": package_version(),
        "seed": seed,
        "epochs": epochs,
        "averaged_epochs": averaged_epochs,
        "trial_list": os.fspath(trial_list),
        "num_trials": len(trials),
        "eer_percent": 100 * eer,
        "eer_threshold": eer_threshold,
    }
    for name, p_target in _MIN_DCFS.items():
        cost, threshold = curve.min_dcf(p_target)
        results[name] = cost
        results[f"{name}_threshold"] = _null_if_infinite(threshold)
    results["coverage"] = coverage
    results["true_positives"] = true_positives
    results["cohort_size"] = cohort_size
    if false_acceptance_rate is not None:
        threshold = curve.threshold_at(false_acceptance_rate)
        results["false_acceptance_rate"] = false_acceptance_rate
        results["threshold"] = _null_if_infinite(threshold)
    if num_resamples:
        results |= _confidence_intervals(scores, trials, num_resamples)
    return results


def _null_if_infinite(threshold: float) -> float | None:
    """Return a threshold, None if it is infinite: JSON has no infinity."""
    return threshold if math.isfinite(threshold) else None


def _confidence_intervals(
    scores: ArrayLike | Tensor, trials: TrialList, num_resamples: int
) -> dict[str, list[float]]:
    intervals = bootstrap_intervals(
        scores, trials.labels, tuple(_MIN_DCFS.values()), num_resamples
    )
    eer_percent = [100 * end for end in intervals["eer"]]
    return {"eer_percent_interval": eer_percent} | {
        f"{name}_interval": list(intervals[f"min_dcf_{p_target}"])
        for name, p_target in _MIN_DCFS.items()
    }


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
        `<output_folder>/verify/<name of the list>`.
    """
    return Path(output_folder, "verify", verification.path.stem)


def run_settings(
    hparams: Mapping[str, Any], cohort: Cohort | None
) -> dict[str, Any]:
    """Return the arguments of `verification_results` that a run's YAML holds.

    Arguments
    ---------
    hparams : mapping
        `seed`, `true_positives`, `num_resamples` and `false_acceptance_rate`
        of the recipe.
    cohort : Cohort or None
        What the scores were normalised by.

    Returns
    -------
    dict
    """
    return {
        "seed": hparams["seed"],
        "true_positives": hparams["true_positives"],
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
        As for `verification_results`, without `trial_list`.

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
        **settings,
    )
    write_results(folder / "results.json", results)
    logger.info(
        "%d trials of %s: EER %.2f %%, minDCF(0.01) %.4f, minDCF(0.05) %.4f",
        results["num_trials"],
        results["trial_list"],
        results["eer_percent"],
        results["min_dcf_p01"],
        results["min_dcf_p05"],
    )
    return results


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
    plot_curves(history.rows, Path(folder, "curves.png"), start_epoch)
    if start_epoch is None or result is None:
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
