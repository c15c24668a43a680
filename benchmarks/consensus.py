"""Time an epoch's start of ConsensusSampling, and one step of it, on one core.

    python benchmarks/consensus.py    # 100 000 utterances
    python benchmarks/consensus.py --num_utterances 1092009 --num_clusters 25000

`prepare` is timed for one clustering and its neighbours; there are S of them.
Those that are then drawn from are of one iteration: that saves time, and their
clusters are of much the same sizes.
The points are those of `benchmarks/clustering.py`. Memory is counted, not
measured: labels, neighbours, and the lists made of them.
"""

import argparse
from functools import partial

import torch
from clustering import utterances
from epoch_start import filled_queue, report, synchronize
from one_core import median_cpu_seconds, use_one_core

from ssps_plugin import ConsensusSampling
from ssps_plugin.memory import ReferenceBank
from ssps_plugin.sampling import Anchors


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_utterances", type=int, default=100_000)
    parser.add_argument("--num_clusters", type=int, default=2_500)
    parser.add_argument("--num_clusterings", type=int, default=10)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--queue_size", type=int, default=25_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    use_one_core()
    device, num = options.device, options.num_utterances
    points = utterances(num, options.dim, options.num_clusters, device)
    bank = ReferenceBank(options.dim).to(device)
    bank.allocate(num)
    bank.write(torch.arange(num, device=device), points)
    queue = filled_queue(num, options.queue_size, device)
    one, strategy = (
        ConsensusSampling(options.num_clusters, 1, **settings)
        for settings in (
            {"num_clusterings": 1},
            {"num_clusterings": options.num_clusterings, "num_iterations": 1},
        )
    )
    for each in (one, strategy):
        each.to(device)
        each.allocate(num, options.dim, queue)

    timed = partial(report, device=device)
    print("| what | processor s | wall s |\n| --- | --- | --- |")
    timed(
        "prepare, one clustering",
        lambda: one.prepare(bank, queue, seed=0, epoch=1),
    )
    strategy.prepare(bank, queue, seed=0, epoch=1)
    every = torch.arange(num, device=device)
    anchors = Anchors(every, points, seed=0, epoch=1)
    timed("lists", strategy._vote_draws)
    timed(
        "select_partners, all", lambda: strategy.select_partners(anchors, bank)
    )
    timed("confidence, all", lambda: strategy.confidence(bank, 0, 1))
    some = torch.randperm(num)[: options.batch].to(device)
    step = Anchors(some, points[some], seed=0, epoch=1)

    def select() -> None:
        strategy.select(step, queue)
        synchronize(device)

    (seconds,) = median_cpu_seconds([select], 20)
    size = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (strategy.labels, strategy.neighbors)
    )
    print(
        f"\nselect, batch {options.batch}, queue {options.queue_size}: "
        f"{1000 * seconds:.2f} ms. Buffers {size / 1e6:.1f} MB, lists as much."
    )


if __name__ == "__main__":
    main()
