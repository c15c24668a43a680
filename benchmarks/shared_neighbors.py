"""Time an epoch's start of SharedNeighborSampling, and a step, on one core.

    python benchmarks/shared_neighbors.py    # 30 000 utterances
    python benchmarks/shared_neighbors.py --num_utterances 1092009 --device cuda

The points are those of `benchmarks/clustering.py`, with noise that is of the
epoch. Memory is counted, not measured: lists and candidates.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from clustering import utterances
from one_core import cpu_seconds, median_cpu_seconds, use_one_core

from ssps_plugin import SharedNeighborSampling
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling import Anchors


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_utterances", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--queue_size", type=int, default=25_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    use_one_core()
    device, num = options.device, options.num_utterances
    points = utterances(num, options.dim, num // 100).to(device)
    index = torch.arange(num, device=device)
    bank = ReferenceBank(options.dim).to(device)
    bank.allocate(num)
    queue = PositiveQueue(options.queue_size, 1)
    queue.allocate(num)
    queued = torch.randperm(num)[: options.queue_size]
    queue.enqueue(queued, torch.zeros(1, len(queued), 1))
    queue.to(device)
    strategy = SharedNeighborSampling().to(device)
    strategy.allocate(num, options.dim, queue)

    def synchronize() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    def report(name: str, work: Callable[[], object]) -> None:
        def whole() -> None:
            work()
            synchronize()

        start = time.perf_counter()
        seconds, _ = cpu_seconds(whole)
        wall = time.perf_counter() - start
        print(f"| {name} | {seconds:.2f} | {wall:.2f} |", flush=True)

    def write_epoch() -> None:
        noise = torch.randn(points.shape, device=device)
        bank.write(index, F.normalize(points + 0.02 * noise, dim=1))

    write_epoch()
    strategy.observe(bank)
    write_epoch()
    print("| what | processor s | wall s |\n| --- | --- | --- |")
    report("prepare", lambda: strategy.prepare(bank, queue, seed=0, epoch=1))
    report("candidates", strategy._candidates)
    anchors = Anchors(index, points, seed=0, epoch=1)
    report(
        "select_partners, all", lambda: strategy.select_partners(anchors, bank)
    )
    some = torch.randperm(num)[: options.batch].to(device)
    step = Anchors(some, points[some], seed=0, epoch=1)

    def select() -> None:
        strategy.select(step, queue)
        synchronize()

    (seconds,) = median_cpu_seconds([select], 20)
    candidates, _ = strategy._candidates()
    lists = strategy.lists.present, strategy.lists.former
    size = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (*lists, candidates)
    )
    print(
        f"\nselect, batch {options.batch}, queue {options.queue_size}: "
        f"{1000 * seconds:.2f} ms. Lists and candidates {size / 1e6:.1f} MB.\n"
        f"{strategy.metrics()}"
    )


if __name__ == "__main__":
    main()
