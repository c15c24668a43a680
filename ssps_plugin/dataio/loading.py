"""How a self-supervised training set is loaded."""

import os
from typing import Any

import torch
from speechbrain.dataio.sampler import ReproducibleRandomSampler

from ssps_plugin.dataio.collation import collate_views
from ssps_plugin.distributed import is_distributed, world_size


def train_loader_kwargs(
    num_utterances: int, global_batch_size: int, num_workers: int
) -> dict[str, Any]:
    """Return what `Brain.fit` needs to load a training set of views.

    A step's utterances do not depend on the number of ranks that share them.

    Arguments
    ---------
    num_utterances : int
        Size of the training set.
    global_batch_size : int
        Utterances a step over all ranks.
    num_workers : int
        Processes that read, per rank.

    Raises
    ------
    ValueError
        A batch that the ranks cannot share evenly, or larger than the set.
    """
    num_ranks = world_size()
    if global_batch_size % num_ranks:
        raise ValueError(
            f"global_batch_size ({global_batch_size}) must be a multiple of "
            f"the number of processes ({num_ranks})."
        )
    if num_utterances < global_batch_size:
        raise ValueError(
            f"The training set has {num_utterances} utterances, fewer than "
            f"global_batch_size ({global_batch_size}): set it lower, and with "
            "SSPS num_clusters too."
        )
    if global_batch_size < 2:
        raise ValueError(
            "Expected a global_batch_size of at least 2, of utterances that "
            f"can be told apart, got {global_batch_size}."
        )
    return {
        **_shuffling(num_utterances),
        "batch_size": global_batch_size // num_ranks,
        "drop_last": True,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "collate_fn": collate_views,
    }


def _shuffling(num_utterances: int) -> dict[str, Any]:
    """Shuffle by the seed, on several ranks as SpeechBrain does on one.

    Of its own it would shuffle with another generator there, and by no seed.
    """
    if not is_distributed():
        return {"shuffle": True}
    # As Brain makes it for one process.
    seed = int(os.environ.get("SB_GLOBAL_SEED", 563375142))
    order = ReproducibleRandomSampler(range(num_utterances), seed=seed)
    return {"shuffle": False, "sampler": order}
