"""The folder of a trained run: its embedding model, loaded without a trace."""

from __future__ import annotations

import os
import pathlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from speechbrain.utils.epoch_loop import EpochCounter
from torch import nn

from ssps_plugin.evaluation.results import History
from ssps_plugin.frameworks import EmbeddingModel, Framework
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.checks import has_checkpoints
from ssps_plugin.training.configuration import (
    Configuration,
    read_saved_settings,
)
from ssps_plugin.training.snapshots import Snapshots

#: "averaged" over the last epochs, "best" verified epoch, "last", or an epoch.
Weights = str | int
#: The file of a run that says how its model is built.
CONFIGURATION = "hyperparams.yaml"
#: The file of an export that says what it is: no run has it.
EXPORT_DETAILS = "speaker_encoder.json"
#: The folder in an export with a copy of a pre-trained front end, and the key
#: of its configuration that says where it is.
FRONT_END = "front_end"
FRONT_END_KEY = "front_end_folder"

_NAMED_WEIGHTS = ("averaged", "best", "last")


@dataclass(frozen=True)
class LoadedWeights:
    """Which weights of a run were loaded.

    Arguments
    ---------
    weights : str or int
        As asked for: `"averaged"`, `"best"`, `"last"` or an epoch.
    epochs : int
        The last epoch that they come from.
    averaged_epochs : int
        How many epochs they are an average of, 1 for none.
    coverage : float or None
        Fraction of anchors with a pseudo-positive in that epoch.
    """

    weights: Weights
    epochs: int
    averaged_epochs: int
    coverage: float | None


@dataclass(frozen=True)
class TrainedRun:
    """What a run's folder holds, loaded.

    Arguments
    ---------
    folder : pathlib.Path
        The run's output folder.
    settings : dict
        Plain values of its configuration.
    embedding_model : EmbeddingModel
        On the CPU, in eval mode.
    loaded : LoadedWeights
        Which weights it has.
    framework : str
        Name of the framework's class.
    """

    folder: pathlib.Path
    settings: dict[str, Any]
    embedding_model: EmbeddingModel
    loaded: LoadedWeights
    framework: str

    @property
    def sample_rate(self) -> int:
        """Samples per second that the model takes."""
        return int(self.settings.get("sample_rate", 16000))


def load_run(
    folder: str | os.PathLike[str], weights: Weights = "averaged"
) -> TrainedRun:
    """Load the embedding model of a run, and change nothing.

    Only the framework is built: no folder is made, no seed is set, the states
    of the random number generators are afterwards what they were. The run may
    have moved, and neither its corpus nor its noise need be there.

    Arguments
    ---------
    folder : str or os.PathLike
        The run's output folder, or the `hyperparams.yaml` in it.
    weights : str or int
        `"averaged"` over the last epochs, as the results are; `"best"`, the
        epoch with the lowest error rate in training; `"last"`; or an epoch
        whose snapshot was kept.

    Returns
    -------
    TrainedRun

    Raises
    ------
    FileNotFoundError
        The folder is no run's, has no checkpoint, or has no snapshot of the
        epoch that is asked for.
    ValueError
        The weights have no such name, or the model cannot be built.
    RuntimeError
        All checkpoints are damaged, or are of another model.
    """
    folder = find_run_folder(folder)
    settings = read_saved_settings(folder / CONFIGURATION)
    save_folder = _find_save_folder(folder, settings)
    framework = _build_framework(folder / CONFIGURATION)
    loaded = load_weights_of_run(
        framework,
        save_folder,
        folder,
        settings.get("averaged_epochs", 0),
        weights,
    )
    model = framework.exported_model
    if not isinstance(model, EmbeddingModel):
        raise ValueError(
            "Expected a framework that exports an EmbeddingModel (features, "
            f"normalization, encoder), got {type(model).__name__} in "
            f"{folder / CONFIGURATION}: change its exported_model."
        )
    model.eval().requires_grad_(False)
    name = type(framework).__name__
    return TrainedRun(folder, settings, model, loaded, name)


def find_run_folder(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Return the output folder of a run, given it or the file in it.

    Raises
    ------
    FileNotFoundError
        There is no run; the message says where one is near by.
    ValueError
        It is an export.
    """
    path = pathlib.Path(folder)
    if path.name == CONFIGURATION:
        path = path.parent
    if (path / EXPORT_DETAILS).is_file():
        raise ValueError(
            f"Expected the output folder of a run, got {path}, which is an "
            "export: load it by SpeakerEncoder.from_export."
        )
    if (path / CONFIGURATION).is_file():
        return path
    problem = f"where there is no {CONFIGURATION}"
    if not path.is_dir():
        problem = "which is a file" if path.exists() else "which is not there"
    near = [path.parent, *sorted(path.glob("*"))[:1000]]
    near += sorted(path.glob("*/*"))[:1000] if path.is_dir() else []
    runs = [str(one) for one in near if is_run_folder(one)]
    hint = f" Give {' or '.join(runs[:3])}." if runs else ""
    raise FileNotFoundError(
        "Expected the output folder of a run (output_folder, such as "
        f"results/simclr_ssps/1986), got {path}, {problem}.{hint}"
    )


def is_run_folder(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a run with checkpoints."""
    path = pathlib.Path(folder)
    return (path / CONFIGURATION).is_file() and has_checkpoints(path / "save")


def load_weights_of_run(
    framework: Framework,
    save_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    averaged_epochs: int,
    weights: Weights = "averaged",
) -> LoadedWeights:
    """Load weights of a run into its framework, and change nothing on disk.

    The training may go on meanwhile.

    Arguments
    ---------
    framework : Framework
        As the run's configuration builds it. What it exports gets the weights.
    save_folder, output_folder : str or os.PathLike
        Of the run.
    averaged_epochs : int
        How many epochs are averaged.
    weights : str or int
        As for `load_run`.

    Returns
    -------
    LoadedWeights

    Raises
    ------
    FileNotFoundError
        There is no checkpoint, or no snapshot of the epoch asked for.
    ValueError
        The weights have no such name, or no epoch was verified.
    RuntimeError
        All checkpoints are damaged, or are of another model.
    """
    output_folder = pathlib.Path(output_folder)
    counter = EpochCounter(1)
    history = History(output_folder / "history.json")
    snapshots = Snapshots(output_folder / "snapshots", averaged_epochs)
    weights = _check_weights(weights, snapshots)
    ended = _load_newest_checkpoint(save_folder, framework, counter)
    model, epoch, num_averaged = framework.exported_model, counter.current, 1
    if weights == "averaged":
        num_averaged = snapshots.average_into(model, epoch)
    elif weights != "last":
        epoch = _find_best(history) if weights == "best" else int(weights)
        # The checkpoint has it already, unless it is from inside an epoch.
        if epoch != counter.current or not ended:
            snapshots.load_into(model, epoch)
    coverage = history.at(epoch).get("coverage")
    return LoadedWeights(weights, epoch, num_averaged, coverage)


def check_checkpoints(save_folder: str | os.PathLike[str]) -> None:
    """Check that there is a checkpoint, before any folder is made.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    if not has_checkpoints(save_folder):
        raise FileNotFoundError(
            f"Expected a checkpoint in {save_folder}, got none: train first, "
            "with the same output_folder, until an epoch has ended."
        )


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the random number generators as they were, whatever is built."""
    # The legacy generator is the one that others may have seeded.
    python = random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _find_save_folder(
    folder: pathlib.Path, settings: Mapping[str, Any]
) -> pathlib.Path:
    """Return where the checkpoints are: beside, unless another was chosen."""
    given = pathlib.Path(settings.get("save_folder") or folder / "save")
    output = pathlib.Path(settings.get("output_folder") or folder)
    has_moved = output.resolve() != folder.resolve()
    found = folder / "save" if has_moved else given
    check_checkpoints(found)
    return found


def _build_framework(path: pathlib.Path) -> Framework:
    configuration = Configuration(path, None, {})
    try:
        with kept_random_states():
            hparams = configuration.load(keys=["framework"])
    except ImportError as error:
        raise ValueError(
            f"Expected the classes that {path} names to be there, got: "
            f"{error} Install what defines them, or put its folder into "
            "PYTHONPATH."
        ) from error
    framework = hparams.get("framework")
    if not isinstance(framework, Framework):
        found = "no such key" if framework is None else type(framework).__name__
        raise ValueError(
            f"Expected the key framework in {path}, a self-supervised "
            f"framework (ssps_plugin.frameworks), got {found}: give the folder "
            "of a run of train_ssl.py."
        )
    return framework


def _load_newest_checkpoint(
    save_folder: str | os.PathLike[str], framework: nn.Module, counter: Any
) -> bool:
    """Load the newest whole checkpoint; whether an epoch had ended there."""
    check_checkpoints(save_folder)
    parts = {"framework": framework, "epoch_counter": counter}
    checkpoint = AtomicCheckpointer(save_folder, parts).load_newest()
    if checkpoint is None:
        raise FileNotFoundError(
            f"Expected a whole checkpoint in {save_folder}, got none: train "
            "first, with the same output_folder, until an epoch has ended."
        )
    return bool(checkpoint.meta.get("end-of-epoch", True))


def _check_weights(weights: Weights, snapshots: Snapshots) -> Weights:
    """Return the name of weights, or the epoch as a number.

    Raises
    ------
    ValueError
        It is neither.
    """
    if isinstance(weights, str) and weights.isdecimal():
        weights = int(weights)
    is_epoch = isinstance(weights, int) and not isinstance(weights, bool)
    if not is_epoch and weights not in _NAMED_WEIGHTS:
        kept = ", ".join(map(str, snapshots.epochs())) or "none"
        raise ValueError(
            f"Expected weights averaged, best, last or the number of an epoch "
            f"that was kept ({kept}), got {weights!r}: change weights."
        )
    return weights


def _find_best(history: History) -> int:
    """Return the epoch with the lowest error rate in training.

    Raises
    ------
    ValueError
        No epoch was verified.
    """
    rated = [row for row in history.rows if row.get("eer") is not None]
    if not rated:
        raise ValueError(
            f"Expected an epoch that was verified in {history.path}, got none, "
            "so that no best one is known: take weights averaged or last."
        )
    best: int = min(rated, key=lambda row: row["eer"])["epoch"]
    return best
