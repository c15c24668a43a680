"""What simulation needs of the machine: the demo extra, and processes."""

import importlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import ModuleType
from typing import TypeVar

from ssps_plugin.progress import progress_bar

# Tasks sent to a process at a time: few, so that the bar moves.
_CHUNK_SIZE = 4

Task = TypeVar("Task")


def import_extra(name: str) -> ModuleType:
    """Import a package of the `demo` extra, or say how to install it.

    Arguments
    ---------
    name : str
        The module's import name, such as `"pyroomacoustics"`.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    RuntimeError
        The module cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"Expected the module {name!r} to simulate recordings with, got "
            f"an error on its import ({error}): install the demo extra, pip "
            "install ssps_plugin[demo] (from a checkout: pip install "
            "'.[demo]')."
        ) from error


def run_tasks(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    num_jobs: int | None,
    description: str,
) -> None:
    """Call a function on every task, in parallel, with a progress bar.

    Processes are spawned rather than forked, because a parent that runs
    threads (PyTorch does) may deadlock its forks. A script that calls this
    needs the usual `if __name__ == "__main__":` guard, unless `num_jobs` is 1.

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
        `num_jobs` is not positive.

    Example
    -------
    >>> done = []
    >>> run_tasks(done.append, [1, 2, 3], num_jobs=1, description="Counting")
    >>> done
    [1, 2, 3]
    """
    if num_jobs is not None and num_jobs < 1:
        raise ValueError(
            f"Expected num_jobs of at least 1 or None, got {num_jobs}: change "
            "num_jobs."
        )
    num_jobs = min(num_jobs or os.cpu_count() or 1, max(1, len(tasks)))
    show_progress = partial(
        progress_bar,
        description=description,
        total=len(tasks),
        unit="recording",
    )
    if num_jobs == 1:
        for task in show_progress(tasks):
            function(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=context) as executor:
        results = executor.map(function, tasks, chunksize=_CHUNK_SIZE)
        for _ in show_progress(results):
            pass
