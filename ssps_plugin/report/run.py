"""What the folder of a run holds, read without changing it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ssps_plugin.dataio.dataset import Table, read_manifest
from ssps_plugin.evaluation.results import (
    History,
    first_covered_epoch,
    rows_of_ssps,
)
from ssps_plugin.evaluation.trial_lookup import (
    find_trial_list,
    resolve_trial_list,
)
from ssps_plugin.training.configuration import read_saved_settings

_SSPS_SUFFIX = "_ssps"


class Run:
    """The settings, history and results of a training run.

    Arguments
    ---------
    folder : str or os.PathLike
        The output folder of the run, finished or not.

    Raises
    ------
    FileNotFoundError
        It is no folder, or holds neither settings nor a history.
    ValueError
        Both of these files are damaged.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "history.json").write_text('[{"epoch": 1, "loss": 2.0}]')
    >>> run = Run(folder)
    >>> run.last_epoch, run.start_epoch, run.results
    (1, None, {})
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        _check_run_folder(self.folder)
        #: What is wrong with files of the run, in sentences.
        self.faults: list[str] = []
        self.settings: dict[str, Any] = {}
        if self.hparams_file.is_file():
            self.settings = self._try(
                read_saved_settings, self.hparams_file, {}
            )
        self.history: list[dict[str, Any]] = self._try(
            read_history, self.folder / "history.json", []
        )
        self.results: dict[str, Any] = self._try(
            read_json, self.folder / "results.json", {}
        )
        if self.faults and not (self.settings or self.history):
            raise ValueError(self.faults[0])

    def _try(
        self,
        read: Callable[[pathlib.Path], Any],
        path: pathlib.Path,
        empty: Any,
    ) -> Any:
        """Read a file; if it is damaged, note it and go on without."""
        try:
            return read(path)
        except (OSError, ValueError) as error:
            self.faults.append(" ".join(str(error).split()))
            return empty

    @property
    def name(self) -> str:
        """The last two parts of the folder: experiment and seed."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def hparams_file(self) -> pathlib.Path:
        """The saved configuration, which may be missing."""
        return self.folder / "hyperparams.yaml"

    @property
    def start_epoch(self) -> int | None:
        """First epoch with SSPS, None for a run without SSPS.

        The first with a pseudo-positive, where that is known: `coverage: auto`
        may begin later than `ssps_start_epoch`.
        """
        start = self.settings.get("ssps_start_epoch")
        start = start if isinstance(start, int) else None
        return first_covered_epoch(self.history, start or 1) or start

    @property
    def has_started_ssps(self) -> bool:
        """Whether an epoch with SSPS is in the history."""
        start = self.start_epoch
        has_reached = start is not None and self.last_epoch >= start
        return has_reached and not self.has_substituted_nothing

    @property
    def has_substituted_nothing(self) -> bool:
        """Whether SSPS was on, and no anchor got a pseudo-positive."""
        start = self.start_epoch
        rows = [] if start is None else rows_of_ssps(self.history, start)
        return bool(rows) and not any(row["coverage"] for row in rows)

    @property
    def why_nothing(self) -> str:
        """What kept SSPS from substituting anything, where it did not."""
        sure = [
            row["sure_draws"] for row in self.history if "sure_draws" in row
        ]
        if not sure:
            return "coverage 0"
        return (
            "coverage auto did not begin it, "
            f"{100 * sure[-1]:.0f} % of the draws were sure"
        )

    @property
    def last_epoch(self) -> int:
        """The last epoch of the history, 0 without one."""
        return max((row["epoch"] for row in self.history), default=0)

    @property
    def num_epochs(self) -> int | None:
        """How many epochs the run is to take, None where that is unknown."""
        num_epochs = self.settings.get("num_epochs")
        return num_epochs if isinstance(num_epochs, int) else None

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch was trained and verified, as far as known."""
        if self.num_epochs is None:
            return bool(self.results)
        return self.last_epoch >= self.num_epochs

    def at(self, epoch: int | None) -> dict[str, Any]:
        """Return the metrics of an epoch, an empty dict if there are none."""
        rows = (row for row in self.history if row["epoch"] == epoch)
        return next(rows, {})

    def last_verified(self) -> dict[str, Any]:
        """Return the metrics of the last epoch that has an EER, or none."""
        rows = [row for row in self.history if row.get("eer") is not None]
        return max(rows, key=lambda row: row["epoch"], default={})

    def find(self, path: str | os.PathLike[str] | None) -> pathlib.Path | None:
        """Find a file or folder that the settings name, also after a move.

        A relative path starts from where the run was started: that is known
        from where its folder is, and what its settings call it.

        Arguments
        ---------
        path : str, os.PathLike or None
            As the settings or results give it.

        Returns
        -------
        pathlib.Path or None
            None where there is no such file or folder.
        """
        if path is None:
            return None
        places = [place / path for place in self._places()]
        beside = self.folder / pathlib.Path(path).name
        own = pathlib.Path(str(self.settings.get("output_folder", "")))
        if own.parts and pathlib.Path(path).parent == own:
            places.insert(0, beside)  # also in a copy of the run's folder
        found = (one for one in (*places, beside) if one.exists())
        return next(found, None)

    def _places(self) -> Iterator[pathlib.Path]:
        """Yield the folders that relative paths may start from."""
        output = pathlib.Path(str(self.settings.get("output_folder", "")))
        parts = self.folder.resolve().parts
        num_parts = len(output.parts)
        if not output.is_absolute() and output.parts == parts[-num_parts:]:
            yield self.folder.resolve().parents[num_parts - 1]
        yield pathlib.Path()

    def read_manifest(self) -> Table:
        """Read the training manifest; the audio need not be there.

        Raises
        ------
        FileNotFoundError
            There is no manifest.
        ValueError
            The manifest is damaged.
        """
        given = self.settings.get("train_manifest", "train.csv")
        manifest = self.find(given)
        if manifest is None:
            raise FileNotFoundError(
                f"Expected the training manifest of {self.folder}, got no file "
                f"at {given}: put it there."
            )
        return read_manifest(os.fspath(manifest), self._data_folder())

    def _data_folder(self) -> str:
        """Return the corpus's folder, where it is now if it can be found."""
        given = self.settings.get("data_folder") or "$data_root"
        if isinstance(given, list):  # joined by links in the output folder
            given = self.folder / "data"
        return os.fspath(self.find(given) or given)

    def trial_list(self) -> pathlib.Path | None:
        """Return the trial list that epochs are verified by, or None."""
        given = self.settings.get("trials")
        if isinstance(given, list):
            given = given[0] if given else None
        named = (self.results.get("trial_list"), given)
        found = [self.find(one) for one in named if one is not None]
        found.append(self._list_of_name(given))
        found.append(find_trial_list(self._data_folder()))
        found.append(self.find(self.settings.get("made_trials", "trials.txt")))
        return next((one for one in found if one and one.is_file()), None)

    def _list_of_name(self, given: object) -> pathlib.Path | None:
        """Return an official list, or a downloaded one; None if it is none."""
        if given is None:
            return None
        folders = [self._data_folder()]
        if (trials_folder := self.trials_folder()) is not None:
            folders.insert(0, os.fspath(trials_folder))
        try:
            return resolve_trial_list(
                str(given), folders, self.folder / "trials"
            )
        except (OSError, ValueError):
            return None

    def trials_folder(self) -> pathlib.Path | None:
        """Return the folder that names of the trials start from, or None."""
        given = self.settings.get("trials_folder")
        if isinstance(given, list):
            given = given[0] if given else None
        return self.find(given or self._data_folder())


def find_twin(run: Run) -> Run | None:
    """Find the plain run beside a run with SSPS, of the same seed.

    Arguments
    ---------
    run : Run
        In `<framework>_ssps/<seed>`.

    Returns
    -------
    Run or None
        That in `<framework>/<seed>`; None where there is none, or it cannot
        be read.
    """
    folder = run.folder.resolve()
    experiment = folder.parent.name
    if run.start_epoch is None or not experiment.endswith(_SSPS_SUFFIX):
        return None
    plain = experiment.removesuffix(_SSPS_SUFFIX)
    try:
        twin = Run(folder.parent.parent / plain / folder.name)
    except (OSError, ValueError):
        return None
    return twin if twin.history and twin.start_epoch is None else None


def find_twin_among(run: Run, runs: Sequence[Run]) -> Run | None:
    """Find the plain run of the same framework and seed among runs given."""
    if run.start_epoch is None:
        return None
    plain = [one for one in runs if one.start_epoch is None and one.history]
    experiment = str(run.settings.get("experiment", run.folder.parent.name))
    wanted = experiment.removesuffix(_SSPS_SUFFIX)
    alike = [
        one
        for one in plain
        if one.settings.get("experiment", one.folder.parent.name) == wanted
    ]
    same_seed = [
        one
        for one in alike
        if one.settings.get("seed") == run.settings.get("seed")
    ]
    return next(iter(same_seed or alike), None)


def read_history(path: pathlib.Path) -> list[dict[str, Any]]:
    """Read the metrics by epoch, an empty list without the file."""
    return History(path).rows


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Read a JSON file of keys and values, an empty dict without one.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected JSON in {path}, got {error}: move the file away, and "
            "verify the run again."
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"Expected keys and values in {path}, got a "
            f"{type(content).__name__}: move the file away, and verify the run "
            "again."
        )
    return content


def _check_run_folder(folder: pathlib.Path) -> None:
    """Raise where a folder is not that of a run."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "which is not there"
        raise FileNotFoundError(
            f"Expected the output folder of a run, got {folder}, {found}: give "
            "the folder that holds hyperparams.yaml."
        )
    names = ("hyperparams.yaml", "history.json")
    if any((folder / name).is_file() for name in names):
        return
    below = sorted(path.parent for path in folder.glob("**/hyperparams.yaml"))
    raise FileNotFoundError(
        f"Expected {' or '.join(names)} in {folder}, got neither: give the "
        "output folder of a run" + (f", such as {below[0]}." if below else ".")
    )
