"""Time on one core, in seconds that other processes do not lengthen."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def use_one_core() -> None:
    """Keep torch, and faiss where it is installed, to one thread."""
    torch.set_num_threads(1)
    try:
        import faiss
    except ImportError:
        return
    faiss.omp_set_num_threads(1)


def cpu_seconds(work: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time that a call takes, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
