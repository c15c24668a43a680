"""Spreading independent tasks over processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Task = TypeVar("Task")

# Tasks sent to a process at a time: few, so that the bar moves
_CHUNK_SIZE = 4


def run_tasks(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    num_jobs: int | None,
    description: str,
) -> None:
    """Call a function on every task, in parallel, with a progress bar.

    Processes are spawned rather than forked, for a parent that runs threads
    (PyTorch does) may deadlock its forks. A script that calls this needs the
    usual ``if __name__ == "__main__":`` guard, unless ``num_jobs`` is 1.

    Arguments
    ---------
    function : callable
        Takes one task; must be picklable if there are several jobs.
    tasks : sequence
        What to call it on.
    num_jobs : int, optional
        Number of processes. 1 runs in this process; None takes one for each
        core.
    description : str
        Shown at the progress bar.

    Raises
    ------
    ValueError
        If ``num_jobs`` is not positive.

    Example
    -------
    >>> seen = []
    >>> run_tasks(seen.append, [1, 2, 3], num_jobs=1, description="Counting")
    >>> seen
    [1, 2, 3]
    """
    if num_jobs is not None and num_jobs < 1:
        raise ValueError(
            f"num_jobs must be at least 1 or None, got {num_jobs}."
        )
    num_jobs = min(num_jobs or os.cpu_count() or 1, max(1, len(tasks)))
    if num_jobs == 1:
        _exhaust(map(function, tasks), len(tasks), description)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=context) as executor:
        results = executor.map(function, tasks, chunksize=_CHUNK_SIZE)
        _exhaust(results, len(tasks), description)


def _exhaust(results: Iterable[None], total: int, description: str) -> None:
    for _ in tqdm(results, total=total, desc=description, dynamic_ncols=True):
        pass
