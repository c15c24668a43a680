"""Check what a training with `warm_start_from` starts from, before data."""

import os
import pathlib

from speechbrain.utils.epoch_loop import EpochCounter

from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.weights import find_save_folder, read_weights


def check_warm_start(source: str | os.PathLike[str]) -> None:
    """Check that a warm start has a run or weights to start from.

    Arguments
    ---------
    source : str or os.PathLike
        The output or save folder of a finished run, or what `load_weights`
        takes.

    Raises
    ------
    FileNotFoundError
        It is not there, or is a folder with neither.
    ValueError
        It is a file that holds no weights.
    """
    if find_save_folder(source) is None:
        read_weights(source)


def check_finished_run(save_folder: pathlib.Path, start_epoch: int) -> None:
    """Check that SSPS goes on from where a run ended, by its checkpoint alone.

    Arguments
    ---------
    save_folder : pathlib.Path
        The folder of the run's checkpoints.
    start_epoch : int
        First epoch, from 1, in which positives are substituted.

    Raises
    ------
    FileNotFoundError
        There is no checkpoint in the folder.
    ValueError
        Its last epoch is not the one before SSPS starts.
    """
    counter = EpochCounter(limit=start_epoch)
    checkpointer = AtomicCheckpointer(
        save_folder, recoverables={"epoch_counter": counter}
    )
    if checkpointer.load_newest() is None:
        raise FileNotFoundError(
            "Expected the save folder of a finished run, with a checkpoint "
            f"in it, got {save_folder}, with none: change warm_start_from."
        )
    epoch = counter.current
    if epoch + 1 != start_epoch:
        raise ValueError(
            "Expected SSPS to start after the last epoch of the run in "
            f"{save_folder}, which is {epoch}, got a start in epoch "
            f"{start_epoch}: change ssps_start_epoch to {epoch + 1}, and "
            "num_epochs to more than that. To start from its weights "
            "alone, give a file in its folder snapshots."
        )
