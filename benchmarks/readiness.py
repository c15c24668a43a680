"""Print what can be known of draws without labels, and what labels say.

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml \
        --overlay hparams/minivox.yaml --ssps_start_epoch 2 --coverage 0 \
        --num_checkpoints 20
    python benchmarks/readiness.py results/simclr_ssps/1986

For every epoch of a run that kept its checkpoints, and its references: what is
known without labels (neighbours that were so an epoch ago, mutual nearest
neighbours, effective rank of the references; of clusters, the adjusted Rand
index of this epoch's and the last epoch's, and of those from other random
members, and for how many utterances the neighbouring cluster is mutual). Then,
by the overlap of each utterance with the one that it shares most neighbours
with, how many are in that range and how many of those are right, in percent.
Right is the same speaker, the own recording included; how many are of it is
last.

This reads the speakers and recordings of the training manifest, which training
never does.
"""

import argparse

import torch
from one_core import use_one_core
from run_labels import load_epochs, read_run, run_main
from torch import Tensor

from ssps_plugin import ConsensusSampling, SharedNeighborSampling
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.report.run import Run
from ssps_plugin.sampling import effective_rank

EDGES = (0.0, 0.05, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 1.01)


def row_of(
    strategy: SharedNeighborSampling,
    consensus: ConsensusSampling,
    bank: ReferenceBank,
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
        f"{100 * signs['reciprocal_clusters']:.1f} | "
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
            cells = row_of(strategy, consensus, bank, speakers, recordings)
            print(f"| {epoch} | {cells} |", flush=True)
            shown += 1
    if not shown:
        raise ValueError(
            "Expected checkpoints with the references of two epochs, got "
            f"those of epochs {known}: train with --num_checkpoints 20."
        )


if __name__ == "__main__":
    run_main(main)
