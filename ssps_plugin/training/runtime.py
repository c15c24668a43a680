"""Devices and processes, compilation, and what is patched in SpeechBrain."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.distributed import ddp_init_group
from torch import nn

from ssps_plugin.distributed import leave_group
from ssps_plugin.frameworks.framework import EmbeddingModel

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 30


@contextmanager
def process_group(run_opts: Mapping[str, Any]) -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end.

    About one process in twenty that ends without leaving is aborted by gloo's
    own threads, and so may be one that still holds a brain when it leaves:
    train and verify in a function of its own. After an error the group is
    left to torchrun, since leaving may wait for ranks that never come.

    Arguments
    ---------
    run_opts : mapping
        SpeechBrain's run options. Without torchrun, only the device counts.

    Raises
    ------
    ValueError
        See `check_devices`.

    Example
    -------
    >>> from ssps_plugin.distributed import is_distributed
    >>> with process_group({"device": "cpu", "distributed_backend": "gloo"}):
    ...     is_distributed()  # this is no process of torchrun's
    False
    """
    check_devices(run_opts)
    ddp_init_group(run_opts)
    yield
    leave_group()


def check_devices(run_opts: Mapping[str, Any]) -> None:
    """Refuse a command that asks for more GPUs than this machine has.

    Before PyTorch does, late and by an ordinal. Without `--device`,
    SpeechBrain takes a GPU where there is one, under torchrun one for each
    process, and else the CPU: then there is nothing to check, but that
    processes which talk over NCCL have a GPU each. Nothing is checked with a
    device that is no GPU.

    Arguments
    ---------
    run_opts : mapping
        SpeechBrain's run options, of which `device` and `distributed_backend`
        count. How many processes torchrun started on this machine is in the
        environment.

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
        raise ValueError(_too_many_processes(num_processes, num_gpus))
    if device is None:
        return
    if (torch.device(device).index or 0) >= num_gpus:
        raise ValueError(
            f"Expected --device to be a GPU of this machine, got {device} "
            f"where {_gpus_there(num_gpus)}: leave --device out to take what "
            "there is, or give --device cpu"
        )
    if one_each and num_processes > 1:
        raise ValueError(
            f"Expected no --device where torchrun starts {num_processes} "
            f"processes on this machine, got {device}, which puts all of them "
            "on one GPU: leave --device out, and each takes its own"
        )


def _too_many_processes(num_processes: int, num_gpus: int) -> str:
    fewer = ""
    if num_gpus:
        fewer = f"start {num_gpus} (--nproc_per_node={num_gpus}), or "
    return (
        f"Expected a GPU for each process, got {num_processes} processes "
        f"started on this machine where {_gpus_there(num_gpus)}: {fewer}train "
        "on the CPU (--device cpu --distributed_backend gloo)"
    )


def _gpus_there(num_gpus: int) -> str:
    """How many GPUs there are, and what may hide some."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    if num_gpus == 0:
        return f"PyTorch {torch.__version__} finds no GPU{hidden}"
    names = ", ".join(f"cuda:{index}" for index in range(num_gpus))
    return f"there are {num_gpus}, {names}{hidden}"


def _num_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _num_processes() -> int:
    """Return how many processes torchrun started here; without it, none."""
    if "LOCAL_RANK" not in os.environ:
        return 0
    ranks_below = int(os.environ["LOCAL_RANK"])
    return max(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), ranks_below + 1)


def compile_encoders(framework: nn.Module, backend: str) -> int:
    """Compile the encoder of every embedding model in a framework, in place.

    Student and teacher, queries and keys. What is compiled keeps its class
    and the names of its parameters, so checkpoints are the same with and
    without; the code is made when an encoder is first called.

    Arguments
    ---------
    framework : torch.nn.Module
        What holds `EmbeddingModel`s, at any depth.
    backend : str
        `inductor` (which needs a C++ compiler on a CPU), or another one that
        `torch.compile` knows.

    Returns
    -------
    int
        How many encoders are compiled.

    Raises
    ------
    ValueError
        An unknown backend.

    Example
    -------
    >>> model = EmbeddingModel(nn.Identity(), nn.Identity(), nn.Linear(3, 2))
    >>> compile_encoders(nn.ModuleList([model]), "eager")
    1
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise ValueError(
            f"Expected a backend of torch.compile ({', '.join(known)}), got "
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
    """Run what is compiled as it was written.

    For whole utterances: each of another length would compile anew.
    """
    with torch.compiler.set_stance("force_eager"):
        yield


class _KeepBatchNorm:
    """Stands for SyncBatchNorm and converts nothing."""

    @staticmethod
    def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return module


@contextmanager
def unsynchronised_batch_norm() -> Iterator[None]:
    """Keep SpeechBrain from converting batch norms while it wraps modules.

    It converts every BatchNorm for distributed training, and the converted
    ones refuse to train on a CPU; some methods want statistics per rank.
    """
    converting = sb.core.SyncBatchNorm
    sb.core.SyncBatchNorm = _KeepBatchNorm
    try:
        yield
    finally:
        sb.core.SyncBatchNorm = converting


def keep_freed_memory() -> bool:
    """Tell glibc not to hand large blocks back to the system at once.

    By default every activation above some size is mapped afresh in each step,
    and zeroed by the kernel page by page: a quarter of a small encoder's step
    on a CPU. Changes no result. Elsewhere than on glibc, nothing is done.

    Returns
    -------
    bool
        Whether the allocator was told.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    told = mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    return bool(told and mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES - 1))
