"""What a run runs on: devices, processes, signals, compiled code.

And two patches: of how SpeechBrain converts batch norms, and of how glibc frees
memory.
"""

import ctypes
import datetime
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.distributed import ddp_init_group
from torch import Tensor, nn

from ssps_plugin.distributed import (
    is_distributed,
    leave_group,
    rank,
    set_timeout,
    world_size,
)
from ssps_plugin.frameworks.framework import EmbeddingModel

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
# More than a tensor of a step on a CPU takes, and no more than fits in an int.
_LARGE_BYTES = 1 << 30


@contextmanager
def process_group(
    run_opts: Mapping[str, Any], timeout_minutes: float | None = None
) -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end.

    About one process in twenty that ends without leaving is aborted by gloo's
    own threads. The same may happen to one that still holds a Brain when it
    leaves: train and verify in a function of its own. After an error, no
    process leaves, since it might wait for ranks that never come: torchrun
    ends them.

    Arguments
    ---------
    run_opts : mapping
        SpeechBrain's run options. Without torchrun, only the device is used.
    timeout_minutes : float, optional
        How long a rank may keep the others waiting; SpeechBrain's two hours
        when left out.

    Raises
    ------
    ValueError
        See `check_devices`; or a timeout that is not above 0.
    RuntimeError
        A rank did not answer in time.

    Example
    -------
    >>> from ssps_plugin.distributed import is_distributed
    >>> with process_group({"device": "cpu", "distributed_backend": "gloo"}):
    ...     is_distributed()  # this is no process of torchrun's
    False
    """
    if timeout_minutes is not None and not 0 < timeout_minutes < float("inf"):
        raise ValueError(
            "Expected a number of minutes above 0, got "
            f"{timeout_minutes}: change rank_timeout_minutes."
        )
    check_devices(run_opts)
    ddp_init_group(run_opts)
    if timeout_minutes is not None:
        set_timeout(datetime.timedelta(minutes=timeout_minutes))
    try:
        yield
    except SystemExit:  # all ranks stop together
        leave_group()
        raise
    except RuntimeError as error:
        if is_distributed() and _is_of_other_rank(error):
            raise RuntimeError(
                f"Expected all {world_size()} processes to answer within "
                f"{timeout_minutes or 120:g} minutes (rank_timeout_minutes), "
                f"got this in process {rank()}: {str(error)[:300]} ... "
                "Another process was killed, failed (see its own message), or "
                "hangs. The same command goes on from the last checkpoint."
            ) from error
        raise
    leave_group()


def _is_of_other_rank(error: RuntimeError) -> bool:
    """Whether an error comes of another rank that is gone, or is silent."""
    text = str(error).lower()
    return any(
        sign in text
        for sign in ("timed out", "timeout", "connection closed", "reset by")
    )


def check_devices(run_opts: Mapping[str, Any]) -> None:
    """Check that this machine has the GPUs that a command asks for.

    PyTorch would refuse later, and name no more than a number. Without
    `--device`, SpeechBrain takes the CPU where there is no GPU, else a GPU,
    under torchrun one for each process; processes that communicate over NCCL
    need a GPU each. A device that is no GPU is not checked.

    Arguments
    ---------
    run_opts : mapping
        SpeechBrain's run options: `device` and `distributed_backend`. The
        environment says how many processes torchrun started on this machine.

    Raises
    ------
    ValueError
        More processes than GPUs on this machine, or a GPU that is not there.

    Example
    -------
    >>> check_devices({"device": "cpu", "distributed_backend": "gloo"})
    >>> check_devices({"device": "cuda:99", "distributed_backend": "nccl"})
    Traceback (most recent call last):
    ...
    ValueError: Expected --device to be a GPU of this machine, got cuda:99 ...
    """
    device, backend = run_opts["device"], run_opts["distributed_backend"]
    if device is not None and not device.startswith("cuda"):
        return
    num_gpus, num_processes = _num_gpus(), _num_processes()
    one_each = backend == "nccl" or (device is None and num_gpus > 0)
    if one_each and num_processes > num_gpus:
        raise ValueError(_describe_too_many(num_processes, num_gpus))
    if device is None:
        return
    if (torch.device(device).index or 0) >= num_gpus:
        raise ValueError(
            f"Expected --device to be a GPU of this machine, got {device} "
            f"where {_describe_gpus(num_gpus)}: leave --device out to take "
            "what there is, or give --device cpu"
        )
    if one_each and num_processes > 1:
        raise ValueError(
            f"Expected no --device where torchrun starts {num_processes} "
            f"processes on this machine, got {device}, which puts all of them "
            "on one GPU: leave --device out, and each takes its own"
        )


def _describe_too_many(num_processes: int, num_gpus: int) -> str:
    fewer = ""
    if num_gpus:
        fewer = f"start {num_gpus} (--nproc_per_node={num_gpus}), or "
    return (
        f"Expected a GPU for each process, got {num_processes} processes "
        f"started on this machine where {_describe_gpus(num_gpus)}: {fewer}"
        "train on the CPU (--device cpu --distributed_backend gloo)"
    )


def _describe_gpus(num_gpus: int) -> str:
    """Name the GPUs that there are, and what may hide others."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    if num_gpus == 0:
        return f"PyTorch {torch.__version__} finds no GPU{hidden}"
    names = ", ".join(f"cuda:{index}" for index in range(num_gpus))
    return f"there are {num_gpus}, {names}{hidden}"


def _num_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _num_processes() -> int:
    """Count the processes that torchrun started here: without it, none."""
    if "LOCAL_RANK" not in os.environ:
        return 0
    ranks_below = int(os.environ["LOCAL_RANK"])
    return max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), ranks_below + 1)


def compile_encoders(framework: nn.Module, backend: str) -> int:
    """Compile the encoder of every embedding model in a framework, in place.

    These are those of student and teacher, or of queries and keys. A compiled
    encoder keeps its class and the names of its parameters, so checkpoints are
    the same. The code is made when an encoder is first called.

    Arguments
    ---------
    framework : torch.nn.Module
        A module with `EmbeddingModel`s in it, at any depth.
    backend : str
        `inductor` (which needs a C++ compiler on a CPU), or another backend of
        `torch.compile`.

    Returns
    -------
    int
        How many encoders are compiled.

    Raises
    ------
    ValueError
        There is no such backend.

    Example
    -------
    >>> model = EmbeddingModel(nn.Identity(), nn.Identity(), nn.Linear(3, 2))
    >>> compile_encoders(nn.ModuleList([model]), "eager")
    1
    """
    backends = torch.compiler.list_backends(exclude_tags=())
    if backend not in backends:
        raise ValueError(
            f"Expected a backend of torch.compile ({', '.join(backends)}), got "
            f"{backend!r}: change compile_backend"
        )
    models = [
        module
        for module in framework.modules()
        if isinstance(module, EmbeddingModel)
    ]
    for model in models:
        model.encoder.compile(backend=backend)
    return len(models)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled modules as they are written.

    Use it for whole utterances: every new length would compile anew.
    """
    with torch.compiler.set_stance("force_eager"):
        yield


class _KeepBatchNorm:
    """Used in place of SyncBatchNorm: it converts nothing."""

    @staticmethod
    def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return module


@contextmanager
def unsynchronised_batch_norm() -> Iterator[None]:
    """Patch SpeechBrain so that batch norms stay as they are.

    SpeechBrain converts every BatchNorm to a SyncBatchNorm when it wraps
    modules for distributed training. That one refuses to train on a CPU, and
    some methods need batch statistics of each rank.
    """
    original = sb.core.SyncBatchNorm
    sb.core.SyncBatchNorm = _KeepBatchNorm
    try:
        yield
    finally:
        sb.core.SyncBatchNorm = original


def keep_freed_memory() -> bool:
    """Set glibc's allocator to keep large blocks that are freed.

    By default every large activation is mapped anew in each step, and zeroed
    by the kernel page by page: a quarter of a small encoder's step on a CPU.
    No result changes. Without glibc nothing is done.

    Returns
    -------
    bool
        Whether the allocator was set.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    is_set = mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    return bool(is_set and mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES - 1))


class ForwardState:
    """What a forward pass in train mode changes, kept and restored.

    Batch statistics above all: one forward pass that overflows puts NaN into
    them for good. A copy costs a few microseconds for each of them.

    Arguments
    ---------
    modules : iterable of torch.nn.Module
        Their buffers and extra states are kept.
    parameters : iterable of torch.nn.Parameter
        Those that a forward pass changes, too: prototypes that it normalises.

    Example
    -------
    >>> norm = nn.BatchNorm1d(2)
    >>> state = ForwardState([norm])
    >>> state.keep()
    >>> _ = norm(torch.full((4, 2), float("nan")))
    >>> state.restore()
    >>> norm.running_mean.tolist(), int(norm.num_batches_tracked)
    ([0.0, 0.0], 0)
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        every = [part for module in modules for part in module.modules()]
        self._buffers: list[Tensor] = [
            buffer
            for part in every
            for buffer in part.buffers(recurse=False)
            if buffer.numel()
        ]
        self._buffers += [weight.detach() for weight in parameters]
        self._copies = [buffer.clone() for buffer in self._buffers]
        self._stateful = [
            part
            for part in every
            if type(part).get_extra_state is not nn.Module.get_extra_state
        ]
        self._extra: list[Any] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Keep the state as it is now; waits for no device."""
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)
        self._extra = [part.get_extra_state() for part in self._stateful]

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the state back to what it was when it was kept."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._copies)
        for part, extra in zip(self._stateful, self._extra, strict=True):
            part.set_extra_state(extra)


class StopRequest:
    """Take SIGTERM and SIGINT as a request to stop when a step is done.

    Within the block the first signal is noted, the second one does what it
    does elsewhere: it ends the process at once. In other threads than the main
    one nothing is changed, since Python allows no handlers there.

    Example
    -------
    >>> with StopRequest() as request:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     request.is_requested, request.exit_status
    (True, 143)
    """

    signals = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """Whether a signal came."""
        return self._received is not None

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as a shell reports it."""
        return 128 + (self._received or signal.SIGTERM)

    def __enter__(self) -> "StopRequest":
        """Begin to take signals."""
        self._received = None
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._receive)
                for number in self.signals
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give signals back to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number
        # Not by a logger, which the signal may have interrupted.
        os.write(
            2,
            b"\nStopping when this step is done and saved; a second signal "
            b"stops at once.\n",
        )
