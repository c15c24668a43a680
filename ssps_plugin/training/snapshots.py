"""Snapshots of the embedding model after the last epochs, and their average."""

import os
import pathlib
from collections.abc import Iterable

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.atomic_write import flush
from ssps_plugin.training.checkpoints import make_write_error, sha256_of

logger = get_logger(__name__)

# Of a snapshot's checksum, in its file's name.
_NAME_CHARACTERS = 16


class Snapshots:
    """Keep the embedding model of the last epochs, to average its weights.

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

    def save(self, epoch: int, model: nn.Module) -> None:
        """Keep the model of an epoch, and delete the snapshots out of range.

        Those are of epochs too old, and of later epochs of a longer run.

        Arguments
        ---------
        epoch : int
            The epoch that has ended.
        model : torch.nn.Module
            The embedding model after it.
        """
        if self.num_kept < 2:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # A process may be killed while it writes.
        unfinished = self.folder / f"{_snapshot_name(epoch)}.unfinished"
        try:
            torch.save(model.state_dict(), unfinished)
            flush(unfinished)
        except (OSError, RuntimeError) as error:
            unfinished.unlink(missing_ok=True)
            raise make_write_error(self.folder, error) from error
        checksum = sha256_of(unfinished)[:_NAME_CHARACTERS]
        path = self.folder / f"{_snapshot_name(epoch)}-{checksum}.ckpt"
        os.replace(unfinished, path)
        flush(self.folder)
        same = f"{_snapshot_name(epoch)}-"  # of this epoch, before a resume
        wanted = {p for p in self._paths(epoch) if not p.name.startswith(same)}
        wanted.add(path)
        for present in self.folder.glob("epoch_*.ckpt"):
            if present not in wanted:
                present.unlink()

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

    def _paths(self, last_epoch: int) -> list[pathlib.Path]:
        """Return the snapshots that count, the oldest first."""
        first = max(last_epoch - self.num_kept, 0) + 1
        return [
            path
            for epoch in range(first, last_epoch + 1)
            for path in sorted(
                self.folder.glob(f"{_snapshot_name(epoch)}-*.ckpt")
            )
        ]


def _snapshot_name(epoch: int) -> str:
    return f"epoch_{epoch:06d}"


def _is_whole_snapshot(path: pathlib.Path) -> bool:
    expected = path.stem.rpartition("-")[2]
    try:
        found = sha256_of(path)[:_NAME_CHARACTERS]
    except OSError as error:
        found = repr(error)
    if found != expected:
        logger.warning(
            "%s is damaged (its SHA-256 begins with %s): it is left out of the "
            "average.",
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
