"""What the benchmarks of strategies share: a queue, and rows of a table."""

import time
from collections.abc import Callable

import torch
from one_core import cpu_seconds

from ssps_plugin.memory import PositiveQueue


def filled_queue(
    num_utterances: int, queue_size: int, device: str
) -> PositiveQueue:
    """Return a queue that holds random utterances."""
    queue = PositiveQueue(queue_size, 1)
    queue.allocate(num_utterances)
    queued = torch.randperm(num_utterances)[:queue_size]
    queue.enqueue(queued, torch.zeros(1, len(queued), 1))
    return queue.to(device)


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def report(name: str, work: Callable[[], object], device: str) -> None:
    """Print a row: what it is, its processor time and its wall time."""

    def whole() -> None:
        work()
        synchronize(device)

    start = time.perf_counter()
    seconds, _ = cpu_seconds(whole)
    wall = time.perf_counter() - start
    print(f"| {name} | {seconds:.2f} | {wall:.2f} |", flush=True)
