"""Thresholds of a trained encoder: which score says "the same speaker"."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ssps_plugin.evaluation.results import History

#: Names of thresholds, and their keys in `results.json`; the first that a run
#: has is its own.
THRESHOLDS = {
    "false_acceptance": "threshold",
    "eer": "eer_threshold",
    "min_dcf_p01": "min_dcf_p01_threshold",
    "min_dcf_p05": "min_dcf_p05_threshold",
}


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of one encoder's cosines, and the trials that they are from.

    Arguments
    ---------
    results : mapping
        As a run's `results.json` holds them; empty if there are none.
    missing : str
        Why there are none, as the end of a sentence.

    Example
    -------
    >>> results = {"trial_list": "o.txt", "num_trials": 4, "threshold": 0.5}
    >>> results |= {"eer_threshold": 0.4, "eer_percent": 8.0}
    >>> thresholds = Thresholds(results | {"false_acceptance_rate": 0.01})
    >>> thresholds.value(), thresholds.value("eer")
    (0.5, 0.4)
    >>> thresholds.source()
    'keeps false acceptances at 1 % on the 4 trials of o.txt'
    """

    results: Mapping[str, Any]
    missing: str = "it was not verified with trials that have labels"

    def names(self) -> list[str]:
        """Return the names of the thresholds that there are."""
        return [
            name
            for name, key in THRESHOLDS.items()
            if self.results.get(key) is not None
        ]

    def value(self, name: str | None = None) -> float | None:
        """Return a threshold, the run's own by default, None without any.

        Raises
        ------
        ValueError
            One is asked for by a name, and is not there.
        """
        if name is None:
            name = next(iter(self.names()), None)
            return None if name is None else float(self.results[_key(name)])
        key = _key(name)
        if self.results.get(key) is None:
            raise ValueError(
                f"Expected the threshold {name} of this encoder, got none: "
                f"{self.source(name)}. Verify the run with a trial list that "
                "has labels (verify.py, with the same weights), or give a "
                "number as threshold."
            )
        return float(self.results[key])

    def source(self, name: str | None = None) -> str:
        """Say how a threshold was chosen, or why there is none."""
        if name is None:
            name = next(iter(self.names()), None)
        if not self.results:
            return f"there is no threshold, since {self.missing}"
        if name is None or name not in self.names():
            return (
                "there is no such threshold: no score of "
                f"{self._describe_trials()} reaches it"
            )
        return f"{self._describe_choice(name)} on {self._describe_trials()}"

    def _describe_choice(self, name: str) -> str:
        if name == "false_acceptance":
            rate = 100 * self.results["false_acceptance_rate"]
            return f"keeps false acceptances at {rate:g} %"
        if name == "eer":
            rate = self.results["eer_percent"]
            return f"accepts and rejects falsely alike (EER {rate:.2f} %)"
        p_target = {"min_dcf_p01": 0.01, "min_dcf_p05": 0.05}[name]
        return f"gives the lowest detection cost at p_target {p_target}"

    def _describe_trials(self) -> str:
        path = pathlib.PurePath(str(self.results.get("trial_list", "trials")))
        number = self.results.get("num_trials")
        return (
            path.name
            if number is None
            else f"the {number} trials of {path.name}"
        )


def find_thresholds(
    folder: pathlib.Path, epochs: int, averaged_epochs: int
) -> Thresholds:
    """Find thresholds in the results of a run, for cosines of its weights.

    Arguments
    ---------
    folder : pathlib.Path
        The run's output folder.
    epochs : int
        The last epoch of the weights.
    averaged_epochs : int
        How many epochs they are an average of.

    Returns
    -------
    Thresholds
        Those of the run's own results where they fit, else those that
        `verify.py` has written last, else that of the EER in training, for an
        epoch that was verified. Results of other weights, of normalised
        scores, and without error rates do not fit.
    """
    found = list(_read_results(folder))
    own = [one for one in found if _is_of(one, epochs, averaged_epochs)]
    rated = [one for one in own if one.get("eer_threshold") is not None]
    for results in rated:
        if not results.get("cohort_size"):
            return Thresholds(results)
    measured = _measured_in_training(folder, epochs)
    if averaged_epochs == 1 and measured:
        return Thresholds(measured)
    missing = Thresholds({}).missing
    if rated:
        missing = (
            "the run's scores were normalised by a cohort (cohort_size), and "
            "these are cosines"
        )
    elif own:
        missing = "its trials have no labels, or those of one kind only"
    elif found:
        missing = (
            "the run was verified with other weights (epoch "
            f"{found[0].get('epochs')}, {found[0].get('averaged_epochs')} "
            "averaged)"
        )
    return Thresholds({}, missing)


def _measured_in_training(folder: pathlib.Path, epoch: int) -> dict[str, Any]:
    """Return what training has measured after an epoch, as results."""
    row = History(folder / "history.json").at(epoch)
    if row.get("eer") is None or row.get("eer_threshold") is None:
        return {}
    return {
        "trial_list": "the run's own trials, in training",
        "eer_percent": row["eer"],
        "eer_threshold": row["eer_threshold"],
    }


def find_results(
    folder: pathlib.Path, epochs: int, averaged_epochs: int
) -> list[dict[str, Any]]:
    """Find all results of a run that are of the given weights.

    Arguments
    ---------
    folder, epochs, averaged_epochs
        As for `find_thresholds`.

    Returns
    -------
    list of dict
        As `results.json` holds them, the run's own first, each list of trials
        once; `results_file` says where they were read.
    """
    found: dict[Any, dict[str, Any]] = {}
    for one in _read_results(folder):
        if _is_of(one, epochs, averaged_epochs):
            trials = one.get("trial_list_sha256") or one.get("trial_list")
            found.setdefault((trials, one.get("cohort_size")), one)
    return list(found.values())


def _is_of(
    results: Mapping[str, Any], epochs: int, averaged_epochs: int
) -> bool:
    weights = (results.get("epochs"), results.get("averaged_epochs"))
    return weights == (epochs, averaged_epochs)


def _read_results(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield the results of a run, its own first, then the newest."""
    paths = [folder / "results.json"]
    verified = folder.glob("verify/*/results.json")
    paths += sorted(verified, key=lambda path: -path.stat().st_mtime_ns)
    for path in paths:
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(results, dict):
            finite = {k: v for k, v in results.items() if not _is_nan(v)}
            yield {**finite, "results_file": str(path)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _key(name: str) -> str:
    if name not in THRESHOLDS:
        raise ValueError(
            f"Expected a threshold's name ({', '.join(THRESHOLDS)}) or a "
            f"number, got {name!r}: change threshold."
        )
    return THRESHOLDS[name]
