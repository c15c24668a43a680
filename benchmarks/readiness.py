"""Print what can be known of draws without labels, and what labels say.

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml \
        --overlay hparams/minivox.yaml --ssps_start_epoch 2 --coverage 0 \
        --num_checkpoints 20
    python benchmarks/readiness.py results/simclr_ssps/1986

For every epoch of a run that kept its checkpoints, and its references: what is
known without labels (neighbours that were so an epoch ago, mutual nearest
neighbours, effective rank of the references; of clusters, the adjusted Rand
index of this epoch's and the last epoch's, and of those from other random
members, for how many utterances the neighbouring cluster is mutual, and how
many positives of the queue, another view of an utterance, are nearest to the
cluster of its reference; none where views are read). Then,
by the overlap of each utterance with the one that it shares most neighbours
with, how many are in that range and how many of those are right, in percent.
Right is the same speaker, the own recording included; how many are of it is
last.

This reads the speakers and recordings of the training manifest, which training
never does.
"""

import argparse

import torch
import torch.nn.functional as F
from one_core import use_one_core
from run_labels import load_epochs, read_run, run_main
from torch import Tensor

from ssps_plugin import (
    ConsensusSampling,
    PositiveSampler,
    SharedNeighborSampling,
)
from ssps_plugin.clustering import SphericalKMeans
from ssps_plugin.clustering.assignment import nearest_centroids
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.report.run import Run
from ssps_plugin.sampling import effective_rank

EDGES = (0.0, 0.05, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 1.01)


def views_agree(
    sampler: PositiveSampler,
    strategy: SharedNeighborSampling,
    num_clusters: int,
) -> str:
    """Return for how many utterances two views are in one cluster, in %."""
    queue = sampler.queue
    positives = queue.positives[0]
    is_held = queue.utterances >= 0
    # Partners that are read leave a queue of one place.
    if len(positives) < 2 or positives.shape[1] != sampler.bank.dim:
        return "–"
    seen, references = sampler.bank.read_seen()
    points = strategy.whitening(references.float())
    clusters = SphericalKMeans(num_clusters).fit(points, seed=sampler.seed)
    of_utterance = seen.new_full((len(sampler.bank.seen),), -1)
    of_utterance[seen] = clusters.labels
    views = strategy.whitening(F.normalize(positives[is_held].float(), dim=1))
    found = nearest_centroids(views, clusters.centroids)[1]
    agree = found == of_utterance[queue.utterances[is_held].long()]
    return f"{100 * float(agree.double().mean()):.1f}"


def row_of(
    strategy: SharedNeighborSampling,
    consensus: ConsensusSampling,
    bank: ReferenceBank,
    views: str,
    speakers: Tensor,
    recordings: Tensor,
) -> str:
    """Return the row of an epoch, whose neighbours the strategy has found."""
    index = torch.arange(len(speakers))
    found, overlap = strategy.lists.find_sharing(1e-9, 1)
    drawn = found[:, 0].long()
    is_own = recordings == recordings[drawn]
    is_right = (speakers == speakers[drawn]) & (drawn >= 0) & (drawn != index)
    cells = []
    for low, high in zip(EDGES[:-1], EDGES[1:], strict=True):
        inside = (overlap >= low) & (overlap < high)
        right = 100 * float(is_right[inside].double().mean())
        share = 100 * float(inside.double().mean())
        cells.append(f"{share:.0f}: {right:.0f}" if inside.any() else "–")
    signs = strategy.metrics() | consensus.metrics()
    own = 100 * float((is_own & is_right).double().mean())
    right = 100 * float(is_right.double().mean())
    return (
        f"{100 * signs['kept_neighbors']:.1f} | "
        f"{100 * signs['mutual_neighbors']:.1f} | "
        f"{effective_rank(bank.read_seen()[1]):.1f} | "
        f"{100 * signs['cluster_agreement']:.1f} | "
        f"{100 * signs['clusterings_agree']:.1f} | "
        f"{100 * signs['reciprocal_clusters']:.1f} | {views} | "
        f"{' | '.join(cells)} | {right:.1f} / {own:.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the output folder of a run with SSPS")
    parser.add_argument("--num_neighbors", type=int, default=20)
    parser.add_argument(
        "--num_clusters", type=int, help="a sixth of the utterances"
    )
    parser.add_argument("--whitening", type=float, default=1.0)
    options = parser.parse_args()
    use_one_core()
    run = Run(options.run)
    sampler, speakers, recordings = read_run(run, parser)
    strategy = SharedNeighborSampling(
        options.num_neighbors, whitening=options.whitening
    )
    num_clusters = options.num_clusters
    if num_clusters is None:
        num_clusters = len(speakers) // 6
    consensus = ConsensusSampling(
        num_clusters, 1, num_clusterings=3, whitening=options.whitening
    )
    queue = PositiveQueue(1, 1)
    queue.allocate(len(speakers))
    for one in (strategy, consensus):
        one.allocate(len(speakers), sampler.bank.dim, queue)
    ranges = [
        f"{low}–{high}" for low, high in zip(EDGES, EDGES[1:-1], strict=False)
    ]
    signs = ["kept", "mutual", "rank", "epochs", "seeds", "reciprocal"]
    signs.append("views")
    heads = ["epoch", *signs, *ranges, f"{EDGES[-2]}–"]
    print(f"{run.name}: {len(speakers)} utterances, K {num_clusters}\n")
    print(f"| {' | '.join([*heads, 'right / own'])} |")
    print("| --- " * (len(heads) + 1) + "|")
    known, shown = [], 0
    for epoch in load_epochs(run, sampler):
        known.append(epoch)
        bank = sampler.bank
        for one in (strategy, consensus):
            one.observe(bank)
            one.prepare(bank, queue, sampler.seed, epoch)
        if strategy.lists.are_of_two_epochs:
            views = views_agree(sampler, strategy, num_clusters)
            cells = row_of(
                strategy, consensus, bank, views, speakers, recordings
            )
            print(f"| {epoch} | {cells} |", flush=True)
            shown += 1
    if not shown:
        raise ValueError(
            "Expected checkpoints with the references of two epochs, got "
            f"those of epochs {known}: train with --num_checkpoints 20."
        )


if __name__ == "__main__":
    run_main(main)
