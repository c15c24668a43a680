"""Print how precise draws are at several coverages, by measure of confidence.

    python benchmarks/draws.py results/simclr_ssps/1986

From the references in a run's newest checkpoint, every utterance draws among
all others by each strategy; the draws are sorted by each measure of
confidence, and only the surest are kept. A pair of figures is the percentage
of them that are of the anchor's speaker and another recording, which is what
SSPS wants, and of the anchor's own recording, which it does not. Ties are in
random order.

A run with `SharedNeighborSampling` or `coverage: auto` has neighbour lists of
the epoch before, too: then draws by these are in the table, and every draw is
sorted by the overlap of its lists.

This reads the speakers and recordings of the training manifest, which training
never does. Everything is compared with everything: for corpora of up to some
ten thousand utterances.
"""

import argparse
import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from one_core import use_one_core
from run_labels import read_run, run_main
from torch import Tensor

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SamplingStrategy,
    SharedNeighborSampling,
)
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.report.run import Run
from ssps_plugin.sampling import Anchors
from ssps_plugin.sampling.neighbor_lists import NeighborLists

COVERAGES = (0.10, 0.25, 0.50, 0.75, 1.00)
# Of an utterance's neighbour list, which Jaccard and k-reciprocal compare.
NUM_NEAREST = 20
CHUNK = 1024


class Space:
    """The references of a run, and what measures compare.

    `references` are whitened, `(num, dim)`; `nearest` are the nearest
    utterances of each, `(num, NUM_NEAREST)`. `lists` are those of two epochs,
    where the run has them.
    """

    def __init__(
        self,
        bank: ReferenceBank,
        consensus: ConsensusSampling,
        lists: NeighborLists | None,
    ) -> None:
        self.consensus = consensus
        self.lists = lists
        self.references = consensus.whitening(bank.references.float())
        num = len(self.references)
        self.is_near = torch.zeros(num, num, dtype=torch.bool)
        for rows in torch.arange(num).split(CHUNK):
            cosines = self.references[rows] @ self.references.T
            cosines.scatter_(1, rows[:, None], -2.0)
            cosines[:, ~bank.seen] = -2.0
            nearest = cosines.topk(min(NUM_NEAREST, num - 1)).indices
            self.is_near[rows[:, None], nearest] = True
        self.are_mutual = self.is_near & self.is_near.T
        self.centroids = [self._centroids(of_one) for of_one in self.labels]

    @property
    def labels(self) -> Tensor:
        return self.consensus.labels.long()

    def _centroids(self, labels: Tensor) -> Tensor:
        shape = self.consensus.num_clusters, self.references.shape[1]
        seen = labels >= 0
        total = torch.zeros(shape)
        total.index_add_(0, labels[seen], self.references[seen])
        return F.normalize(total, dim=1)

    def measures(
        self, index: Tensor, drawn: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield measures of confidence of pairs, the larger the surer."""
        there = self.consensus.votes(index, drawn)
        yield "votes", there.float()
        back = self.consensus.votes(drawn, index)
        yield "votes both ways", (there + back).float()
        cosine = (self.references[index] * self.references[drawn]).sum(1)
        yield "cosine, whitened", cosine
        yield "votes, then cosine", there + 0.49 * cosine
        yield "both ways, then cosine", there + back + 0.49 * cosine
        yield "reciprocal rank of clusters", self._ranks(index, drawn)
        yield "Jaccard of neighbours", _jaccard(self.is_near, index, drawn)
        yield "k-reciprocal Jaccard", _jaccard(self.are_mutual, index, drawn)
        if self.lists is not None:
            yield "overlap in two epochs", self.lists.overlap(index, drawn)

    def _ranks(self, index: Tensor, drawn: Tensor) -> Tensor:
        """Mean reciprocal rank of one's cluster from the other's."""
        total = torch.zeros(len(index))
        for labels, centroids in zip(self.labels, self.centroids, strict=True):
            cosines = centroids @ centroids.T
            order = cosines.argsort(1, descending=True)
            ranks = order.argsort(1).float()  # 0: the cluster itself
            one, other = labels[index], labels[drawn]
            total += 1 / (1 + ranks[one, other]) + 1 / (1 + ranks[other, one])
        return total / len(self.centroids)


def _jaccard(sets: Tensor, index: Tensor, drawn: Tensor) -> Tensor:
    """Overlap of the sets of two utterances, over their union."""
    parts = []
    for rows in torch.arange(len(index)).split(CHUNK):
        one, other = sets[index[rows]], sets[drawn[rows]]
        union = (one | other).sum(1).clamp(min=1)
        parts.append((one & other).sum(1) / union)
    return torch.cat(parts)


def draw_all(
    strategy: SamplingStrategy, bank: ReferenceBank, seed: int, epoch: int
) -> Tensor:
    """Return what every utterance draws among all, -1 for none."""
    index, references = bank.read_seen()
    anchors = Anchors(index, references.float(), seed, epoch)
    drawn = torch.full((len(bank.seen),), -1)
    drawn[index] = strategy.select_partners(anchors, bank)
    return drawn


def prepared(
    strategy: SamplingStrategy, bank: ReferenceBank, seed: int, epoch: int
) -> SamplingStrategy:
    """Return the strategy after the references were clustered."""
    queue = PositiveQueue(1, 1)
    queue.allocate(len(bank.seen))
    strategy.allocate(len(bank.seen), bank.dim, queue)
    strategy.observe(bank)
    strategy.prepare(bank, queue, seed, epoch)
    return strategy


def find_lists(sampler: PositiveSampler) -> NeighborLists | None:
    """Return the run's neighbour lists, brought up to its references."""
    owner = sampler.strategy
    if sampler.coverage.compares_lists:
        owner = sampler.coverage
    if not isinstance(getattr(owner, "lists", None), NeighborLists):
        return None
    owner = copy.deepcopy(owner)
    owner.observe(sampler.bank)
    return owner.lists if owner.lists.are_of_two_epochs else None


def precision(
    confidence: Tensor, is_right: Tensor, is_own_recording: Tensor, num: int
) -> str:
    """Return a cell for each coverage: right and own recording, in percent."""
    shuffled = torch.randperm(
        len(confidence), generator=torch.Generator().manual_seed(0)
    )
    order = confidence[shuffled].argsort(descending=True, stable=True)
    order, cells = shuffled[order], []
    for coverage in COVERAGES:
        kept = order[: round(coverage * num)]
        right = 100 * float(is_right[kept].float().mean())
        own = 100 * float(is_own_recording[kept].float().mean())
        cells.append(f"{right:5.1f} / {own:4.1f}")
    return " | ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the output folder of a run with SSPS")
    parser.add_argument("--num_clusters", type=int, help="the run's own")
    parser.add_argument("--num_neighbors", type=int, default=1)
    parser.add_argument("--num_clusterings", type=int, default=10)
    parser.add_argument("--whitening", type=float, help="the run's own")
    options = parser.parse_args()
    use_one_core()
    run = Run(options.run)
    sampler, speakers, recordings = read_run(run, parser)
    bank, seed, epoch = sampler.bank, sampler.seed, sampler.epoch
    lists = find_lists(sampler)
    num_clusters = options.num_clusters
    if num_clusters is None:
        num_clusters = getattr(
            sampler.strategy, "num_clusters", len(speakers) // 2
        )
    whitening = options.whitening
    if whitening is None:
        whitening = sampler.strategy.whitening.power
    clusters = num_clusters, options.num_neighbors
    votes = {
        "num_clusterings": options.num_clusterings,
        "whitening": whitening,
    }
    strategies = {
        "nearest neighbour": NearestNeighborSampling(1, whitening),
        "clustering": ClusteringSampling(*clusters, whitening=whitening),
        "consensus, most voted": ConsensusSampling(*clusters, **votes),
        "consensus, votes¹": ConsensusSampling(
            *clusters, vote_power=1.0, **votes
        ),
        "consensus, not sharing": ConsensusSampling(
            *clusters, share_cluster=False, **votes
        ),
    }
    for strategy in strategies.values():
        prepared(strategy, bank, seed, epoch)
    space = Space(bank, strategies["consensus, most voted"], lists)
    if lists is not None:
        shared = SharedNeighborSampling(lists.num_neighbors)
        shared.lists = lists
        strategies["shared neighbours"] = shared
    print(
        f"{run.name}, epoch {epoch}: {int(bank.seen.sum())} utterances, "
        f"K {clusters[0]}, M {clusters[1]}, whitening {whitening}, "
        f"{options.num_clusterings} clusterings.\n"
        "Right speaker in another recording / own recording, % of draws."
    )
    heads = " | ".join(f"{100 * coverage:.0f} %" for coverage in COVERAGES)
    print(f"\n| draw | sorted by | {heads} |\n" + "| --- " * 7 + "|")
    num = int(bank.seen.sum())
    for name, strategy in strategies.items():
        drawn = draw_all(strategy, bank, seed, epoch)
        index = (drawn >= 0).nonzero().flatten()
        drawn = drawn[index]
        is_own = recordings[index] == recordings[drawn]
        is_right = (speakers[index] == speakers[drawn]) & ~is_own
        measures = dict(space.measures(index, drawn))
        own = strategy.confidence(bank, seed, epoch)[index]
        measures["the strategy's own"] = own
        for measure, confidence in measures.items():
            cells = precision(confidence, is_right, is_own, num)
            print(f"| {name} | {measure} | {cells} |", flush=True)


if __name__ == "__main__":
    run_main(main)
