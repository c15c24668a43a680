"""The embedding model after each of the last epochs, and their average."""

import os
import pathlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_PATTERN = "epoch_*.ckpt"


class Snapshots:
    """Keep the embedding model of the last epochs, to average its weights.

    One file an epoch with nothing but the embedding model in it: averaging ten
    epochs keeps no ten copies of memories or of an optimiser's state.

    Arguments
    ---------
    folder : str or os.PathLike
        Where they lie.
    num_kept : int
        How many epochs are averaged; 0 or 1 keeps nothing.

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
                f"averaged_epochs must be at least 0, got {num_kept}."
            )
        self.folder = pathlib.Path(folder)
        self.num_kept = num_kept

    def save(self, epoch: int, model: nn.Module) -> None:
        """Keep the model as it is after an epoch, and drop what is too old."""
        if self.num_kept < 2:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(epoch)
        # Whole or not at all: a process may be killed while it writes.
        unfinished = path.with_suffix(".unfinished")
        torch.save(model.state_dict(), unfinished)
        os.replace(unfinished, path)
        wanted = self._paths(epoch)
        for kept in self.folder.glob(_PATTERN):
            if kept not in wanted:
                kept.unlink()

    def average_into(self, model: nn.Module, last_epoch: int) -> int:
        """Load the average of the last epochs into a model.

        Floating-point entries are averaged, batch statistics among them; the
        others are the last epoch's. Epochs without a snapshot are left out.

        Arguments
        ---------
        model : torch.nn.Module
            Of the snapshots' structure; unchanged where there is nothing to
            average.
        last_epoch : int
            The newest epoch that counts.

        Returns
        -------
        int
            How many epochs were averaged, 1 where the model stayed as it was.
        """
        paths = [path for path in self._paths(last_epoch) if path.exists()]
        if len(paths) < 2:
            return 1
        states = (torch.load(p, "cpu", weights_only=True) for p in paths)
        model.load_state_dict(_average(states, len(paths)))
        return len(paths)

    def _paths(self, last_epoch: int) -> list[pathlib.Path]:
        first = max(last_epoch - self.num_kept, 0) + 1
        return [self._path(epoch) for epoch in range(first, last_epoch + 1)]

    def _path(self, epoch: int) -> pathlib.Path:
        return self.folder / f"epoch_{epoch:06d}.ckpt"


def _average(
    states: Iterable[dict[str, Tensor]], num: int
) -> dict[str, Tensor]:
    """Average one state after the other, in float64."""
    total: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    for last in states:
        for name, value in last.items():
            if value.is_floating_point():
                total[name] = total.get(name, 0) + value.double()
    return {
        name: (total[name] / num).to(value.dtype) if name in total else value
        for name, value in last.items()
    }
