"""Checkpoints that are whole or absent, and snapshots of the last epochs."""

import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

import torch
from speechbrain.utils.checkpoints import (
    CKPT_PREFIX,
    METAFNAME,
    Checkpoint,
    Checkpointer,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch import Tensor, nn

# The name of the file that marks a checkpoint, until all others are written.
_UNFINISHED = METAFNAME + ".unfinished"
# How PyTorch's message begins when a state is of another module.
_MISFIT = "Error(s) in loading state_dict"
# Its message names every entry, of which the first few say what is wrong.
_SHOWN_CHARACTERS = 300


class AtomicCheckpointer(Checkpointer):
    """Save checkpoints that a process killed while saving cannot spoil.

    SpeechBrain writes the file that marks a folder as a checkpoint first, so a
    process killed while saving leaves a newest checkpoint that cannot be
    loaded. Here that file gets its name last.

    Arguments
    ---------
    *args, **kwargs
        As for `speechbrain.utils.checkpoints.Checkpointer`.

    Example
    -------
    >>> module = nn.Linear(1, 1)
    >>> folder = getfixture("tmp_path")
    >>> checkpointer = AtomicCheckpointer(folder, {"module": module})
    >>> checkpointer.recover_if_possible() is None
    True
    >>> checkpoint = checkpointer.save_checkpoint(meta={"epoch": 3})
    >>> checkpointer.recover_if_possible().meta["epoch"]
    3
    """

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> Checkpoint | None:
        """Save as SpeechBrain does, then mark the checkpoint as whole."""
        checkpoint = super().save_checkpoint(*args, **kwargs)
        ddp_barrier()
        if checkpoint is not None:  # the main process
            folder = pathlib.Path(checkpoint.path)
            os.replace(folder / _UNFINISHED, folder / METAFNAME)
        ddp_barrier()
        return checkpoint

    def recover_if_possible(self, *args: Any, **kwargs: Any) -> Checkpoint:
        """Remove what a killed process left, then load as SpeechBrain does.

        Raises
        ------
        RuntimeError
            The checkpoint is of other modules, or of other sizes.
        """
        if if_main_process():
            pattern = f"{CKPT_PREFIX}*/{_UNFINISHED}"
            for marker in pathlib.Path(self.checkpoints_dir).glob(pattern):
                shutil.rmtree(marker.parent)
        ddp_barrier()
        try:
            return super().recover_if_possible(*args, **kwargs)
        except (KeyError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and _MISFIT not in str(error):
                raise
            shown = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
            raise RuntimeError(
                f"Expected checkpoints in {self.checkpoints_dir} that fit what "
                f"the configuration builds, got: {shown} ... Go on with the "
                "settings that they were made with (hyperparams.yaml beside "
                "that folder), or change output_folder."
            ) from error

    def _save_checkpoint_metafile(
        self, fpath: pathlib.Path, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        meta: dict[str, Any] = super()._save_checkpoint_metafile(
            fpath.with_name(_UNFINISHED), *args, **kwargs
        )
        return meta


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
        path = self._path(epoch)
        # A process may be killed while it writes.
        unfinished = path.with_suffix(".unfinished")
        torch.save(model.state_dict(), unfinished)
        os.replace(unfinished, path)
        wanted = self._paths(epoch)
        for present in self.folder.glob("epoch_*.ckpt"):
            if present not in wanted:
                present.unlink()

    def average_into(self, model: nn.Module, last_epoch: int) -> int:
        """Load the average of the last epochs into a model.

        Floating-point entries are averaged, batch statistics among them; the
        others are the last epoch's. Epochs without a snapshot are left out.

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
        paths = [path for path in self._paths(last_epoch) if path.exists()]
        if len(paths) < 2:
            return 1
        states = (torch.load(path, "cpu", weights_only=True) for path in paths)
        model.load_state_dict(_average(states, len(paths)))
        return len(paths)

    def _paths(self, last_epoch: int) -> list[pathlib.Path]:
        first = max(last_epoch - self.num_kept, 0) + 1
        return [self._path(epoch) for epoch in range(first, last_epoch + 1)]

    def _path(self, epoch: int) -> pathlib.Path:
        return self.folder / f"epoch_{epoch:06d}.ckpt"


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
