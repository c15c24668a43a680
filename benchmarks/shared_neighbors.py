"""Time an epoch's start of SharedNeighborSampling, and a step, on one core.

    python benchmarks/shared_neighbors.py    # 30 000 utterances
    python benchmarks/shared_neighbors.py --num_utterances 1092009 --device cuda

The points are those of `benchmarks/clustering.py`, with noise that is of the
epoch. Memory is counted, not measured: lists and candidates.
"""

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from clustering import utterances
from epoch_start import filled_queue, report, synchronize
from one_core import median_cpu_seconds, use_one_core

from ssps_plugin import SharedNeighborSampling
from ssps_plugin.memory import ReferenceBank
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
    points = utterances(num, options.dim, num // 100, device)
    index = torch.arange(num, device=device)
    bank = ReferenceBank(options.dim).to(device)
    bank.allocate(num)
    queue = filled_queue(num, options.queue_size, device)
    strategy = SharedNeighborSampling().to(device)
    strategy.allocate(num, options.dim, queue)

    timed = partial(report, device=device)

    def write_epoch() -> None:
        noise = torch.randn(points.shape, device=device)
        bank.write(index, F.normalize(points + 0.02 * noise, dim=1))

    write_epoch()
    strategy.observe(bank)
    write_epoch()
    print("| what | processor s | wall s |\n| --- | --- | --- |")
    timed("observe: all compared with all", lambda: strategy.observe(bank))
    timed("candidates", strategy._candidates)
    anchors = Anchors(index, points, seed=0, epoch=1)
    timed(
        "select_partners, all", lambda: strategy.select_partners(anchors, bank)
    )
    some = torch.randperm(num)[: options.batch].to(device)
    step = Anchors(some, points[some], seed=0, epoch=1)

    def select() -> None:
        strategy.select(step, queue)
        synchronize(device)

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
