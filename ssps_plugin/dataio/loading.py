"""How a self-supervised training set is loaded and collated."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.sampler import ReproducibleRandomSampler

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


def stack_equal(
    tensors: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack tensors of one shape: a `padding_func` that pads nothing.

    Arguments
    ---------
    tensors : sequence of torch.Tensor
        Tensors of the same shape.

    Returns
    -------
    tuple of torch.Tensor
        (batch, ...) and the relative lengths (batch,), all 1.

    Example
    -------
    >>> stack_equal([torch.zeros(2, 3)] * 4)[0].shape
    torch.Size([4, 2, 3])
    """
    out = None
    if torch.utils.data.get_worker_info() is not None:
        # Stacked right into the memory that goes to the main process.
        shape = (len(tensors), *tensors[0].shape)
        size = len(tensors) * tensors[0].numel()
        storage = tensors[0]._typed_storage()._new_shared(size)
        out = tensors[0].new(storage).resize_(shape)
    return torch.stack(list(tensors), out=out), torch.ones(len(tensors))


def collate_views(examples: list[dict[str, Any]]) -> PaddedBatch:
    """Collate examples whose tensors have a fixed shape.

    Gives the batch that SpeechBrain would, faster.

    Arguments
    ---------
    examples : list of dict
        The dataset's items.

    Returns
    -------
    PaddedBatch
        `batch.id`, `batch.views.data` (batch, num_views, samples) ...

    Example
    -------
    >>> views = torch.zeros(2, 8)
    >>> batch = collate_views(
    ...     [{"id": "a", "views": views}, {"id": "b", "views": views}]
    ... )
    >>> batch.id, batch.views.data.shape
    (['a', 'b'], torch.Size([2, 2, 8]))
    """
    return PaddedBatch(examples, padding_func=stack_equal)
