"""Start SSPS from a run that is finished, as the published runs did."""

from typing import TYPE_CHECKING, Any

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger

if TYPE_CHECKING:
    from ssps_plugin.brain import SSLBrain

logger = get_logger(__name__)


def warm_start(brain: "SSLBrain", folder: str) -> None:
    """Take up model, optimiser and epoch, and fill the memories.

    The memories are filled by one pass in eval mode over the training set,
    with the training augmentation, in the order of the last epoch; no training
    epoch is lost.

    Arguments
    ---------
    brain : SSLBrain
        About to fit, its optimiser made.
    folder : str
        The `save` folder of the finished run.

    Raises
    ------
    FileNotFoundError
        No checkpoint in it.
    ValueError
        Its last epoch is not the one before SSPS starts.

    Source: Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """
    epoch = _take_up(brain, folder)
    brain.shared_epoch.set(epoch)
    loader = _loader(brain, epoch)
    hidden = brain.noprogressbar or not if_main_process()
    brain.modules.eval()
    with torch.no_grad(), brain.evaluation_ctx:
        bar = sb.core.tqdm(loader, "warm start", disable=hidden)
        brain.modules.sampler.warm_start(brain.embedded(bar))


def _take_up(brain: "SSLBrain", folder: str) -> int:
    # The bare modules: DDP and compile wrap those of `modules`.
    names = ("framework", *brain.operands, "optimizer", "epoch_counter")
    recoverables = brain.checkpointer.recoverables
    finished = Checkpointer(
        folder,
        recoverables={name: recoverables[name] for name in names},
    )
    checkpoint = finished.recover_if_possible()
    if checkpoint is None:
        raise FileNotFoundError(
            "warm_start_from expects the save folder of a finished run, with "
            f"a checkpoint in it; found none in {folder}."
        )
    epoch: int = brain.epoch_counter.current
    start_epoch = brain.modules.sampler.start_epoch
    if epoch + 1 != start_epoch:
        raise ValueError(
            f"The run in {folder} ended after epoch {epoch}, but SSPS starts "
            f"in epoch {start_epoch}: set ssps_start_epoch to {epoch + 1}, "
            "and num_epochs to more than that."
        )
    logger.info("Warm start from %s, epoch %d", checkpoint.path, epoch)
    return epoch


def _loader(brain: "SSLBrain", epoch: int) -> Any:
    train_set, loader_kwargs = brain.train_data
    # Making a loader replaces the sampler that training will use.
    kept = brain.train_sampler
    loader = brain.make_dataloader(
        train_set,
        sb.Stage.TRAIN,
        ckpt_prefix=None,
        **{**loader_kwargs, "drop_last": False},
    )
    if brain.train_sampler is not None:
        brain.train_sampler.set_epoch(epoch)
    brain.train_sampler = kept
    return loader
