"""Time one call of the sampler: select, substitute, remember.

Against a plain per-anchor loop over the same memories, in the same run, and
NearestNeighborSampling against the bare matrix product. One core.

    python benchmarks/sampling.py            # VoxCeleb2's size, 12 GB
    python benchmarks/sampling.py --small    # a smaller set, seconds
"""

import argparse
import itertools
import random

import torch
import torch.nn.functional as F
from one_core import median_cpu_seconds, use_one_core

from ssps_plugin import (
    ClusteringSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SamplingStrategy,
)

BATCHES = (64, 256, 512)
DIMS = (192, 512)


def filled_sampler(
    strategy: SamplingStrategy, num_utterances: int, queue_size: int, dim: int
) -> PositiveSampler:
    """Return a sampler whose memories are full, SSPS on."""
    sampler = PositiveSampler(strategy, queue_size, dim, dim, start_epoch=2)
    sampler.bind(list(map(str, range(num_utterances))))
    sampler.begin_epoch(1)
    # Written by parts: at a million utterances, one more copy is 2 GB.
    order = torch.randperm(num_utterances)
    for part in order.split(min(queue_size, 8192)):
        vectors = F.normalize(torch.randn(len(part), dim), dim=1)
        sampler.bank.write(part, vectors)
    for part in order[-queue_size:].split(min(queue_size, 8192)):
        sampler.queue.enqueue(part, torch.randn(1, len(part), dim))
    return sampler


def switch_on(sampler: PositiveSampler, num_clusters: int | None) -> None:
    """Start the SSPS epoch; clusters are drawn, their search is not timed."""
    strategy = sampler.strategy
    if num_clusters is None:
        sampler.begin_epoch(2)
        return
    num = len(strategy.clusters)
    strategy.clusters.copy_(torch.randint(num_clusters, (num,)))
    strategy.neighbors.copy_(torch.randint(num_clusters, (num_clusters, 1)))
    strategy.load_state_dict(strategy.state_dict())  # draws anew
    sampler.epoch = 2


def loop_step(
    sampler: PositiveSampler,
    index: torch.Tensor,
    reference: torch.Tensor,
    positives: torch.Tensor,
) -> torch.Tensor:
    """Do what a call does, as a plain loop over the anchors."""
    strategy, queue, bank = sampler.strategy, sampler.queue, sampler.bank
    utterances = queue.utterances
    cluster_of_slot = strategy.clusters[utterances.clamp(min=0)]
    substituted = positives.clone()
    for row, utterance in enumerate(index.tolist()):
        cluster = int(strategy.clusters[utterance])
        drawn = int(random.choice(strategy.neighbors[cluster].tolist()))
        found = (cluster_of_slot == drawn) & (utterances >= 0)
        found &= utterances != utterance
        slots = found.nonzero().flatten().tolist()
        if slots:
            substituted[row] = queue.positives[0, random.choice(slots)]
    for row in range(len(index)):
        bank.write(index[row : row + 1], reference[row : row + 1])
        queue.enqueue(index[row : row + 1], positives[None, row : row + 1])
    return substituted


def steps(
    num_utterances: int, batch: int, dim: int
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Batches of positions, references and positives."""
    shuffled = torch.randperm(num_utterances)[: 64 * batch]
    index = list(shuffled.split(batch))
    if len(index[-1]) < batch:
        index.pop()
    reference = F.normalize(torch.randn(batch, dim), dim=1)
    return index, reference, torch.randn(batch, dim)


def time_clustering(
    num_utterances: int, num_clusters: int, queue_sizes: list[int]
) -> None:
    """Print the table of SSPS-Clustering."""
    print("dim  queue    batch  call ms  strings add ms  loop ms  loop/call")
    for dim in DIMS:
        for queue_size in queue_sizes:
            sampler = filled_sampler(
                ClusteringSampling(num_clusters, 1),
                num_utterances,
                queue_size,
                dim,
            )
            switch_on(sampler, num_clusters)
            for batch in BATCHES:
                row = time_batch(sampler, num_utterances, batch, dim)
                print(f"{dim:<4} {queue_size:<8} {batch:<6} {row}", flush=True)


def time_batch(
    sampler: PositiveSampler, num_utterances: int, batch: int, dim: int
) -> str:
    """Return one row of the table."""
    index, reference, positives = steps(num_utterances, batch, dim)
    names = [list(map(str, part.tolist())) for part in index]
    turns = itertools.count()

    def positions() -> None:
        sampler(index[next(turns) % len(index)], reference, positives)

    def strings() -> None:
        sampler(names[next(turns) % len(index)], reference, positives)

    def loop() -> None:
        loop_step(
            sampler, index[next(turns) % len(index)], reference, positives
        )

    call, named = (
        1000 * t for t in median_cpu_seconds([positions, strings], 200)
    )
    (looped,) = (1000 * t for t in median_cpu_seconds([loop], 3))
    added = named - call
    return f"{call:<8.3f} {added:<15.3f} {looped:<8.1f} {looped / call:.0f}"


def time_nearest(num_utterances: int, queue_sizes: list[int]) -> None:
    """Print the table of SSPS-NN against the bare matrix product."""
    print("dim  queue    batch  call ms  product ms  call/product")
    for dim in DIMS:
        for queue_size in queue_sizes:
            sampler = filled_sampler(
                NearestNeighborSampling(50), num_utterances, queue_size, dim
            )
            switch_on(sampler, None)
            for batch in BATCHES:
                row = time_nearest_batch(sampler, num_utterances, batch, dim)
                print(f"{dim:<4} {queue_size:<8} {batch:<6} {row}", flush=True)


def time_nearest_batch(
    sampler: PositiveSampler, num_utterances: int, batch: int, dim: int
) -> str:
    """Return one row of the table."""
    index, reference, positives = steps(num_utterances, batch, dim)
    keys = sampler.strategy.keys[: sampler.queue.size].T
    turns = itertools.count()

    def call() -> None:
        sampler(index[next(turns) % len(index)], reference, positives)

    called, bare = (
        1000 * t
        for t in median_cpu_seconds([call, lambda: reference @ keys], 9)
    )
    return f"{called:<8.2f} {bare:<11.2f} {called / bare:.2f}"


def main() -> None:
    """Run both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    use_one_core()
    torch.manual_seed(0)
    num_utterances = 50_000 if small else 1_092_009
    num_clusters = 1_000 if small else 25_000
    queue_sizes = [3_000, 25_000, 100_000, 1_092_009]
    queue_sizes = [min(size, num_utterances) for size in queue_sizes]
    queue_sizes = sorted(set(queue_sizes))
    time_clustering(num_utterances, num_clusters, queue_sizes)
    time_nearest(
        num_utterances, [size for size in queue_sizes if size <= 100_000]
    )


if __name__ == "__main__":
    main()
