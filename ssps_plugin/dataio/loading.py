"""Load and collate a training set of views."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.sampler import ReproducibleRandomSampler

from ssps_plugin.distributed import is_distributed, world_size

# Not SpeechBrain's, which is silent on all ranks but the first.
logger = logging.getLogger(__name__)

# Deaths in a row without a batch between them: a worker that dies again at
# once is no accident.
_MOST_DEATHS = 3
_SECONDS_TO_DIE = 1.0
# Queues whose thread is still writing: to close their pipe is not safe.
_kept_queues: list[Any] = []


def train_loader_kwargs(
    num_utterances: int, global_batch_size: int, num_workers: int
) -> dict[str, Any]:
    """Return the `train_loader_kwargs` of `Brain.fit`.

    The utterances of a step do not depend on the number of ranks.

    Arguments
    ---------
    num_utterances : int
        Size of the training set.
    global_batch_size : int
        Utterances in a step, over all ranks.
    num_workers : int
        Processes that read files, for each rank.

    Returns
    -------
    dict
        Options of SpeechBrain's `make_dataloader`.

    Raises
    ------
    ValueError
        A batch that the ranks cannot share evenly, larger than the set, or of
        a single utterance.
    """
    num_ranks = world_size()
    if global_batch_size % num_ranks:
        raise ValueError(
            f"Expected a multiple of the {num_ranks} processes, got "
            f"{global_batch_size}: change global_batch_size"
        )
    if num_utterances < global_batch_size:
        raise ValueError(
            f"Expected a training set of at least {global_batch_size} "
            f"utterances, got {num_utterances}: change global_batch_size, and "
            "with SSPS num_clusters too"
        )
    check_step_size(global_batch_size)
    return {
        **_shuffle_options(num_utterances),
        "batch_size": global_batch_size // num_ranks,
        "drop_last": True,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "collate_fn": collate_views,
        "worker_init_fn": ignore_interrupts,
    }


def check_step_size(global_batch_size: int) -> None:
    """Raise a ValueError unless a step has utterances to be compared."""
    if global_batch_size < 2:
        raise ValueError(
            "Expected at least 2 utterances in a step, to be compared with "
            f"each other, got {global_batch_size}: change global_batch_size"
        )


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process: a `worker_init_fn`.

    A terminal sends SIGINT to all processes. Workers that die of it take away
    the batches of the step that the main process wants to finish and save.

    Arguments
    ---------
    worker : int
        The worker's number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class RestartingLoader(SaveableDataLoader):
    """SpeechBrain's loader, which starts killed workers anew.

    A worker that the kernel kills (out of memory) does not end the epoch: all
    workers are started anew, and go on with the batch that was awaited. The
    batches are those of an undisturbed run, and so is the state of the random
    generator. `restart_killed_workers` makes one of SpeechBrain's loader.

    Workers are only looked at while a batch is awaited; PyTorch by itself
    raises wherever the main process is, be it in the middle of a step.

    Raises
    ------
    RuntimeError
        While iterating: workers die again and again, and no batch comes.
    """

    def __iter__(self) -> Iterator[Any]:
        # Persistent workers of the epoch before: no new ones are started.
        draws_seed = self._iterator is None
        iterator: Any = None
        num_deaths = 0
        while True:
            try:
                if iterator is None:
                    iterator = self._start(draws_seed)
                    draws_seed = False
                batch = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                # None where persistent workers died between two epochs.
                started = iterator is not None
                broken: Any = iterator if started else self._iterator
                dead = _find_dead_workers(broken)
                if not dead:
                    raise
                num_deaths += 1
                self._give_up(broken, dead, num_deaths, error)
                if started:
                    self._speechbrain_recovery_skip_to = broken._num_yielded
                iterator = None
                continue
            num_deaths = 0
            yield batch

    def _start(self, draws_seed: bool) -> Any:
        """Start the workers, or take those of the epoch before."""
        state = torch.get_rng_state()
        with _without_handler():
            iterator = super().__iter__()
        # There is nothing to take back from the handler.
        iterator._worker_pids_set = False
        if not draws_seed:
            torch.set_rng_state(state)
        return iterator

    def _give_up(
        self, iterator: Any, dead: str, num_deaths: int, error: Exception
    ) -> None:
        """Warn of dead workers, or raise; stop those that are left."""
        if num_deaths > _MOST_DEATHS:
            raise RuntimeError(
                f"Expected workers that load data to live, got {num_deaths} "
                f"times in a row that they died before a batch came ({dead}): "
                "lower num_workers or global_batch_size if memory is short, "
                "or set num_workers to 0 to see an error"
            ) from error
        logger.warning(
            "A worker that loads data died (%s): all are started anew and go "
            "on with the same batch. If the kernel killed it for memory, "
            "lower num_workers.",
            dead,
        )
        _stop(iterator)
        self._iterator = None  # that of persistent workers


def restart_killed_workers(loader: Any) -> Any:
    """Make a loader that starts killed workers anew, of SpeechBrain's.

    Arguments
    ---------
    loader : speechbrain.dataio.dataloader.SaveableDataLoader
        As `Brain.make_dataloader` makes it; it is changed in place, and stays
        what a checkpointer saves. Any other loader is left as it is.

    Returns
    -------
    SaveableDataLoader
        `loader`, now a `RestartingLoader`.
    """
    if type(loader) is SaveableDataLoader:
        loader.__class__ = RestartingLoader
    return loader


def collate_views(examples: list[dict[str, Any]]) -> PaddedBatch:
    """Collate examples whose tensors have a fixed shape.

    The batch is the one SpeechBrain makes, in about half the time, since
    nothing is padded; see `stack_equal`.

    Arguments
    ---------
    examples : list of dict
        The dataset's items.

    Returns
    -------
    PaddedBatch
        `batch.id`, `batch.views.data` of `(batch, num_views, samples)`, …

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


def stack_equal(
    tensors: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack tensors of one shape: a `padding_func` without padding.

    A DataLoader's worker stacks right into the shared memory that goes to the
    main process, as PyTorch's `default_collate` does. That saves a copy of the
    batch: a fifth of the time to collate (75 ms rather than 95 ms on a CPU
    core, for 256 utterances with two views of 2 s and a reference of 4 s).

    Arguments
    ---------
    tensors : sequence of torch.Tensor
        Tensors of the same shape.

    Returns
    -------
    tuple of torch.Tensor
        `(batch, ...)`, and the relative lengths `(batch,)`, all 1.

    Example
    -------
    >>> stack_equal([torch.zeros(2, 3)] * 4)[0].shape
    torch.Size([4, 2, 3])
    """
    out = None
    if torch.utils.data.get_worker_info() is not None:
        # PyTorch has no public function for this.
        shape = (len(tensors), *tensors[0].shape)
        size = len(tensors) * tensors[0].numel()
        storage = tensors[0]._typed_storage()._new_shared(size)
        out = tensors[0].new(storage).resize_(shape)
    return torch.stack(list(tensors), out=out), torch.ones(len(tensors))


@contextmanager
def _without_handler() -> Iterator[None]:
    """Keep PyTorch from raising in a handler of SIGCHLD, in mid-step."""
    handling = torch.utils.data._utils.signal_handling
    original = handling._set_worker_pids
    handling._set_worker_pids = lambda *_: None
    try:
        yield
    finally:
        handling._set_worker_pids = original


def _find_dead_workers(iterator: Any) -> str:
    """Name the workers that died and why, empty where none did."""
    workers = getattr(iterator, "_workers", [])
    deadline = time.monotonic() + _SECONDS_TO_DIE
    # What it held may be missing a moment before it counts as dead.
    while True:
        dead = [worker for worker in workers if not worker.is_alive()]
        if dead or not workers or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return ", ".join(
        f"process {worker.pid}, exit code {worker.exitcode}" for worker in dead
    )


def _stop(iterator: Any) -> None:
    """Stop what is left of an iterator, without waiting for its queues.

    A worker that died may have held a lock that the others wait for.
    """
    for worker in iterator._workers:
        worker.kill()
        worker.join()
    for queue in iterator._index_queues:
        # Its thread writes what it has, to nobody, and closes the pipe.
        queue.cancel_join_thread()
        queue.close()
        queue._thread.join(_SECONDS_TO_DIE)
        if queue._thread.is_alive():
            _kept_queues.append(queue)
    if hasattr(iterator, "_pin_memory_thread_done_event"):
        iterator._pin_memory_thread_done_event.set()
    iterator._shutdown = True


def _shuffle_options(num_utterances: int) -> dict[str, Any]:
    """Shuffle by the seed, on several ranks as SpeechBrain does on one.

    By itself SpeechBrain shuffles with another generator on several ranks, and
    not by the seed.
    """
    if not is_distributed():
        return {"shuffle": True}
    # The sampler and the default seed of `Brain` for one process.
    seed = int(os.environ.get("SB_GLOBAL_SEED", 563375142))
    order = ReproducibleRandomSampler(range(num_utterances), seed=seed)
    return {"shuffle": False, "sampler": order}
