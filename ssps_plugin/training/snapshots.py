"""Snapshots of the embedding model by epoch, and the last ones' average."""

import os
import pathlib
import re
from collections.abc import Collection, Iterable

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.atomic_write import flush
from ssps_plugin.training.checkpoints import (
    DamagedFileError,
    make_write_error,
    sha256_of,
)

logger = get_logger(__name__)

# Of a snapshot's checksum, in its file's name.
_NAME_CHARACTERS = 16
_PREFIX = "epoch_"
# Of epochs that are kept for another reason than to be averaged: an average
# over more epochs than a run has kept must not take them in.
_MARKED_PREFIX = "marked_epoch_"


class Snapshots:
    """Keep the embedding model of the last epochs, and of a few that matter.

    The last ones are there to average their weights.

    There is one file an epoch, with the embedding model alone: to average ten
    epochs takes no ten copies of memories and of an optimiser's state.

    Arguments
    ---------
    folder : str or os.PathLike
        The folder of the files.
    num_kept : int
        How many epochs are averaged; 0 or 1 keeps nothing.

    Raises
    ------
    ValueError
        `num_kept` is negative.

    Source: the evaluation of Lepage and Dehak (arXiv 2505.14561) averages the
    parameters of the last ten epochs.

    Example
    -------
    >>> snapshots = Snapshots(getfixture("tmp_path"), num_kept=2)
    >>> model = nn.Linear(1, 1, bias=False)
    >>> for epoch, weight in ((1, 9.0), (2, 1.0), (3, 2.0)):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     snapshots.save(epoch, model)
    >>> snapshots.average_into(model, last_epoch=3)
    2
    >>> model.weight.item()
    1.5
    """

    def __init__(
        self, folder: str | os.PathLike[str], num_kept: int = 10
    ) -> None:
        if num_kept < 0:
            raise ValueError(
                f"Expected at least 0 epochs to average, got {num_kept}: "
                "change averaged_epochs."
            )
        self.folder = pathlib.Path(folder)
        self.num_kept = num_kept

    def save(
        self, epoch: int, model: nn.Module, marked: Collection[int] = ()
    ) -> None:
        """Keep the model of an epoch, and delete the snapshots out of range.

        Those are of epochs too old, and of later epochs of a longer run.

        Arguments
        ---------
        epoch : int
            The epoch that has ended.
        model : torch.nn.Module
            The embedding model after it.
        marked : collection of int
            Epochs to keep besides the last ones: that before SSPS starts, say.
            Their files have names of their own, and are not averaged unless
            they are among the last epochs anyway.
        """
        paths = []
        if self.num_kept >= 2:
            paths.append(self._write(epoch, model, _PREFIX))
            same = f"{_snapshot_name(epoch)}-"  # of before a resume
            wanted = {
                path
                for path in self._paths(epoch)
                if not path.name.startswith(same)
            }
            _delete_others(self.folder, _PREFIX, {*wanted, *paths})
        if epoch in marked:
            self.mark(epoch, model)
        wanted = {
            path
            for path in self.folder.glob(f"{_MARKED_PREFIX}*.ckpt")
            if _epoch_of(path) in marked
        }
        _delete_others(self.folder, _MARKED_PREFIX, wanted)

    def mark(self, epoch: int, model: nn.Module) -> None:
        """Keep the model of an epoch that is not one of those to average.

        Arguments
        ---------
        epoch : int
            The epoch.
        model : torch.nn.Module
            The embedding model after it.
        """
        path = self._write(epoch, model, _MARKED_PREFIX)
        for other in self._marked(epoch):
            if other != path:  # of before a resume
                other.unlink()

    def epochs(self) -> list[int]:
        """Return the epochs that there is a snapshot of, in order."""
        paths = [
            path
            for prefix in (_PREFIX, _MARKED_PREFIX)
            for path in self.folder.glob(f"{prefix}*.ckpt")
        ]
        epochs = map(_epoch_of, paths)
        return sorted({epoch for epoch in epochs if epoch is not None})

    def load_into(self, model: nn.Module, epoch: int) -> None:
        """Load the snapshot of one epoch into a model.

        Arguments
        ---------
        model : torch.nn.Module
            Of the snapshot's structure.
        epoch : int
            One of `epochs()`.

        Raises
        ------
        FileNotFoundError
            There is no snapshot of this epoch; the message says of which.
        DamagedFileError
            There is one, and it is not what was written.
        """
        paths = [*self._of_epoch(epoch), *self._marked(epoch)]
        if not paths:
            kept = ", ".join(map(str, self.epochs())) or "none"
            raise FileNotFoundError(
                f"Expected a snapshot of epoch {epoch} in {self.folder}, got "
                f"those of the epochs: {kept}. Change the epoch to one of them."
            )
        whole = next(filter(_is_whole_snapshot, paths), None)
        if whole is None:
            raise DamagedFileError(
                f"Expected a whole snapshot of epoch {epoch}, got {paths[0]}, "
                "which is damaged: take another epoch, or copy the file back "
                "from a backup."
            )
        model.load_state_dict(torch.load(whole, "cpu", weights_only=True))

    def average_into(self, model: nn.Module, last_epoch: int) -> int:
        """Load the average of the last epochs into a model.

        Floating-point entries are averaged, batch statistics among them; the
        others are the last epoch's. Epochs without a snapshot are left out,
        and so are damaged ones, with a warning: a file's name holds the start
        of its SHA-256.

        Arguments
        ---------
        model : torch.nn.Module
            Of the snapshots' structure. It stays as it is where there is
            nothing to average.
        last_epoch : int
            The newest epoch to average.

        Returns
        -------
        int
            How many epochs were averaged, 1 where the model stayed as it is.
        """
        paths = [p for p in self._paths(last_epoch) if _is_whole_snapshot(p)]
        if len(paths) < 2:
            return 1
        states = (torch.load(path, "cpu", weights_only=True) for path in paths)
        model.load_state_dict(_average(states, len(paths)))
        return len(paths)

    def _write(self, epoch: int, model: nn.Module, prefix: str) -> pathlib.Path:
        """Write a snapshot under a name that holds its checksum."""
        name = _snapshot_name(epoch, prefix)
        self.folder.mkdir(parents=True, exist_ok=True)
        # A process may be killed while it writes.
        unfinished = self.folder / f"{name}.unfinished"
        try:
            torch.save(model.state_dict(), unfinished)
            flush(unfinished)
        except (OSError, RuntimeError) as error:
            unfinished.unlink(missing_ok=True)
            raise make_write_error(self.folder, error) from error
        checksum = sha256_of(unfinished)[:_NAME_CHARACTERS]
        path = self.folder / f"{name}-{checksum}.ckpt"
        os.replace(unfinished, path)
        flush(self.folder)
        return path

    def _paths(self, last_epoch: int) -> list[pathlib.Path]:
        """Return the snapshots that are averaged, the oldest first."""
        first = max(last_epoch - self.num_kept, 0) + 1
        return [
            path
            for epoch in range(first, last_epoch + 1)
            for path in self._of_epoch(epoch)
        ]

    def _of_epoch(self, epoch: int) -> list[pathlib.Path]:
        return sorted(self.folder.glob(f"{_snapshot_name(epoch)}-*.ckpt"))

    def _marked(self, epoch: int) -> list[pathlib.Path]:
        name = _snapshot_name(epoch, _MARKED_PREFIX)
        return sorted(self.folder.glob(f"{name}-*.ckpt"))


def _snapshot_name(epoch: int, prefix: str = _PREFIX) -> str:
    return f"{prefix}{epoch:06d}"


def _epoch_of(path: pathlib.Path) -> int | None:
    """Return the epoch in a snapshot's name, None for another file."""
    match = re.fullmatch(r"(?:marked_)?epoch_(\d+)-\w+\.ckpt", path.name)
    return None if match is None else int(match[1])


def _delete_others(
    folder: pathlib.Path, prefix: str, wanted: Collection[pathlib.Path]
) -> None:
    for present in folder.glob(f"{prefix}*.ckpt"):
        if present not in wanted:
            present.unlink()


def _is_whole_snapshot(path: pathlib.Path) -> bool:
    expected = path.stem.rpartition("-")[2]
    try:
        found = sha256_of(path)[:_NAME_CHARACTERS]
    except OSError as error:
        found = repr(error)
    if found != expected:
        logger.warning(
            "%s is damaged (its SHA-256 begins with %s): it is passed over.",
            path,
            found,
        )
    return found == expected


def _average(
    states: Iterable[dict[str, Tensor]], num_states: int
) -> dict[str, Tensor]:
    """Average states in float64; one of them is in memory at a time."""
    total: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for last in states:
        for name, value in last.items():
            if value.is_floating_point():
                total[name] = total.get(name, 0) + value.double()
    return {
        name: (total[name] / num_states).to(value.dtype)
        if name in total
        else value
        for name, value in last.items()
    }
