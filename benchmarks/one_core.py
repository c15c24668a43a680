"""Time on one core, in seconds that other processes do not lengthen."""

import statistics
import time
from collections.abc import Callable, Sequence
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


def median_cpu_seconds(
    calls: Sequence[Callable[[], object]], repeats: int
) -> list[float]:
    """Median processor time of each call, taken in turn: machines drift."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        for place, call in enumerate(calls):
            seconds, _ = cpu_seconds(call)
            if repeat:  # the first round warms up
                times[place].append(seconds)
    return [statistics.median(one) for one in times]
