"""What a run leaves behind: scores, results.json, curves, a summary."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.evaluation.cohort import Cohort
from ssps_plugin.evaluation.plots import plot_curves
from ssps_plugin.evaluation.results import (
    verification_results,
    write_results,
    write_scores,
)
from ssps_plugin.evaluation.verification import (
    Verification,
    VerificationResult,
)
from ssps_plugin.history import History

logger = get_logger(__name__)


def folder_of_list(
    output_folder: str | os.PathLike[str], verification: Verification
) -> pathlib.Path:
    """Return where the outcome of one of several trial lists goes."""
    return pathlib.Path(output_folder, "verify", verification.path.stem)


def facts_of_run(
    hparams: Mapping[str, Any], cohort: Cohort | None
) -> dict[str, Any]:
    """Return what the configuration says for `verification_results`.

    Arguments
    ---------
    hparams : mapping
        `seed`, `true_positives`, `num_resamples` and `false_acceptance_rate`
        of the recipe.
    cohort : Cohort or None
        What the scores were normalised by.
    """
    return {
        "seed": hparams["seed"],
        "true_positives": hparams["true_positives"],
        "cohort_size": 0 if cohort is None else len(cohort.files),
        "num_resamples": hparams["num_resamples"],
        "false_acceptance_rate": hparams["false_acceptance_rate"],
    }


def write_outcome(
    folder: str | os.PathLike[str],
    verification: Verification,
    result: VerificationResult,
    **facts: Any,
) -> dict[str, Any]:
    """Write `scores.txt` and `results.json`, and log the error rates.

    Arguments
    ---------
    folder : str or os.PathLike
        Where they go; made where it is not there.
    verification : Verification
        The trials.
    result : VerificationResult
        Their scores.
    **facts
        As for `verification_results`, but for `trial_list`.

    Returns
    -------
    dict
        What `results.json` holds.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(folder / "scores.txt", result.scores, verification.trials)
    results = verification_results(
        result.scores,
        verification.trials,
        trial_list=verification.path,
        **facts,
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


def conclude_training(
    folder: str | os.PathLike[str],
    history: History,
    start_epoch: int | None,
    result: VerificationResult | None = None,
) -> None:
    """Draw `curves.png` and say what SSPS changed.

    Arguments
    ---------
    folder : str or os.PathLike
        The output folder.
    history : History
        Figures by epoch.
    start_epoch : int or None
        First epoch with SSPS, None without.
    result : VerificationResult, optional
        Of the model that training ends with.
    """
    if not history.rows:
        return
    plot_curves(history.rows, pathlib.Path(folder) / "curves.png", start_epoch)
    last = history.rows[-1]
    if start_epoch is None or result is None:
        return
    before = history.at(start_epoch - 1).get("eer")
    if last["epoch"] >= start_epoch and before is not None:
        ratio = 100 * result.eer / before if before else None
        logger.info(
            "SSPS was switched on after epoch %d: EER %.2f %% then, %.2f %% "
            "at the end, after epoch %d%s",
            start_epoch - 1,
            before,
            100 * result.eer,
            last["epoch"],
            "" if ratio is None else f" ({ratio:.2f} times as much)",
        )
