"""Print what is known without labels of K and M, and what labels say.

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml \
        --overlay hparams/minivox.yaml --ssps_start_epoch 2 --coverage 0 \
        --num_checkpoints 20
    python benchmarks/cluster_number.py results/simclr_ssps/1986 --epochs 5 15

For some epochs of a run that kept its checkpoints, and for several numbers of
clusters. Without labels: the adjusted Rand index of two clusterings from other
random members, and of this epoch's and the last one's; how much nearer a
reference is to its own centroid than to the next (cosines, in hundredths); and
for each M, one partner drawn for every utterance, and in percent how many of
the pairs have an overlap of neighbour lists of at least `--min_overlap`. With
labels, the same pairs: how many are right and of another recording, and of the
own recording. Overlaps need the epoch before, too.

This reads the speakers and recordings of the training manifest, which training
never does.
"""

import argparse

import torch
from one_core import use_one_core
from run_labels import check_lists, load_epochs, read_run, run_main
from torch import Tensor

from ssps_plugin import (
    ClusteringSampling,
    PositiveSampler,
    SharedNeighborSampling,
)
from ssps_plugin.clustering import SphericalKMeans, adjusted_rand_index
from ssps_plugin.memory import PositiveQueue
from ssps_plugin.report.run import Run
from ssps_plugin.sampling.strategy import Anchors, Whitening

# Utterances to a cluster.
SIZES = (3, 6, 12, 24, 36, 72)
NUM_NEIGHBORS = (0, 1, 2)


def margin_to_next(points: Tensor, centroids: Tensor) -> float:
    """Cosine of the own centroid less that of the next, over all points."""
    nearest = (points @ centroids.T).topk(2, dim=1).values
    return float((nearest[:, 0] - nearest[:, 1]).mean())


def draw(
    sampler: PositiveSampler, strategy: ClusteringSampling, epoch: int
) -> Tensor:
    """Draw a partner for every utterance."""
    bank = sampler.bank
    queue = PositiveQueue(1, 1)
    queue.allocate(len(bank.seen))
    strategy.allocate(len(bank.seen), bank.dim, queue)
    strategy.prepare(bank, queue, sampler.seed, epoch)
    index = torch.arange(len(bank.seen))
    anchors = Anchors(index, bank.references, sampler.seed, epoch)
    return strategy.select_partners(anchors, bank)


def percent(chosen: Tensor) -> str:
    """Format the share of what is true."""
    return f"{100 * float(chosen.double().mean()):.0f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the output folder of a run with SSPS")
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--min_overlap", type=float, default=0.08)
    parser.add_argument("--whitening", type=float, default=1.0)
    options = parser.parse_args()
    use_one_core()
    run = Run(options.run)
    sampler, speakers, recordings = read_run(run, parser)
    check_lists(run, len(speakers))
    index = torch.arange(len(speakers))
    shared = SharedNeighborSampling(whitening=options.whitening)
    queue = PositiveQueue(1, 1)
    queue.allocate(len(speakers))
    shared.allocate(len(speakers), sampler.bank.dim, queue)
    whitening = Whitening(options.whitening)
    whitening.allocate(sampler.bank.dim)
    columns = ["epoch", "K", "seeds", "epochs", "margin"]
    columns += [f"M {m}: overlap, right, own recording" for m in NUM_NEIGHBORS]
    print(f"{run.name}: {len(speakers)} utterances\n")
    print(f"| {' | '.join(columns)} |")
    print("| --- " * len(columns) + "|")
    former: Tensor | None = None
    kept: list[int] = []
    for epoch in load_epochs(run, sampler):
        shared.observe(sampler.bank)
        references = sampler.bank.references.float()
        whitening.fit(references)
        points = whitening(references)
        for size in SIZES if epoch in options.epochs else ():
            num_clusters = len(points) // size
            if num_clusters <= max(NUM_NEIGHBORS):
                continue
            kmeans = SphericalKMeans(num_clusters)
            one, other = (kmeans.fit(points, seed) for seed in (epoch, -epoch))
            cells = [adjusted_rand_index(one.labels, other.labels), None]
            if former is not None:
                before = kmeans.fit(former, epoch)
                cells[1] = adjusted_rand_index(one.labels, before.labels)
            cells.append(margin_to_next(points, one.centroids))
            row = ["–" if c is None else f"{100 * c:.1f}" for c in cells]
            for num_neighbors in NUM_NEIGHBORS:
                drawn = draw(
                    sampler,
                    ClusteringSampling(
                        num_clusters,
                        num_neighbors,
                        whitening=options.whitening,
                    ),
                    epoch,
                )
                found = index[drawn >= 0]
                drawn = drawn[found]
                own = recordings[found] == recordings[drawn]
                right = (speakers[found] == speakers[drawn]) & ~own
                surely = "–"  # without lists of the epoch before
                if shared.lists.are_of_two_epochs:
                    overlap = shared.lists.overlap(found, drawn)
                    surely = percent(overlap >= options.min_overlap)
                row.append(f"{surely}, {percent(right)}, {percent(own)}")
            print(f"| {epoch} | {num_clusters} | {' | '.join(row)} |")
        former = points
        kept.append(epoch)
    if missing := sorted(set(options.epochs) - set(kept)):
        print(f"\nNo checkpoint of epochs {missing}, but of {kept}.")


if __name__ == "__main__":
    run_main(main)
