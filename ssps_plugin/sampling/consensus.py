"""Consensus: a pseudo-positive that several clusterings agree on. Ours."""

import math
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ssps_plugin.checks import check_flag, check_whole_number, is_number
from ssps_plugin.clustering import adjusted_rand_index
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling.cluster_strategy import ClusterStrategy
from ssps_plugin.sampling.draw import draw_uniform
from ssps_plugin.sampling.schedule import Schedule
from ssps_plugin.sampling.signs import reciprocal_clusters
from ssps_plugin.sampling.strategy import Anchors
from ssps_plugin.sampling.vote_draws import VoteDraws

# Between the seeds of two clusterings of an epoch: more than there are epochs,
# whose seeds differ by 1.
_SEED_STRIDE = 1_000_003


class ConsensusSampling(ClusterStrategy):
    """Draw what is in a neighbouring cluster in most of several clusterings.

    At each epoch's start the references are clustered several times, from
    other random members each time. A candidate has a vote of every clustering
    in which it lies in one of the `num_neighbors` clusters nearest to the
    anchor's (in the anchor's own when `num_neighbors` is 0). Where one
    clustering happens to put a wrong cluster beside the anchor's, the others
    seldom do.

    It is ours, not published. With one clustering and one neighbour it draws
    what `ClusteringSampling` draws.

    Time and memory: an epoch's start takes `num_clusterings` times what
    `ClusteringSampling` takes, one after another. Labels and lists take 8
    bytes for every utterance and clustering. Candidates are counted for the
    anchors of a step, or some anchors at once where partners are read; there
    is no table of pairs. `benchmarks/consensus.py` measures both.

    Arguments
    ---------
    num_clusters, num_neighbors, schedule_epochs, own_cluster_below
        As in `ClusteringSampling`, of every clustering.
    num_clusterings : int
        S, at least 1.
    vote_power : float
        Draw in proportion to votes ** vote_power, at least 0: the smaller, the
        more diverse. Infinity draws among the most voted only, uniformly.
    share_cluster : bool
        False leaves out candidates that are in the anchor's cluster in any of
        the clusterings, where `num_neighbors` is at least 1: they are likely
        of the anchor's recording.
    whitening : float
        Power of the transform of the references.
    num_iterations : int
        Iterations of k-means from random members.
    assignment_dtype : str
        "float32", or "bfloat16" for faster assignments.

    Raises
    ------
    ValueError
        An argument is out of range.
    """

    labels: Tensor
    neighbors: Tensor
    drawn_votes: Tensor

    def __init__(
        self,
        num_clusters: int | list[int] | Schedule,
        num_neighbors: int | list[int] | Schedule,
        num_clusterings: int = 10,
        vote_power: float = math.inf,
        share_cluster: bool = True,
        whitening: float = 0.0,
        num_iterations: int = 10,
        assignment_dtype: str = "float32",
        schedule_epochs: int | None = None,
        own_cluster_below: int = 0,
    ) -> None:
        super().__init__(
            num_clusters,
            num_neighbors,
            whitening,
            rank_decay=0.0,
            num_iterations=num_iterations,
            assignment_dtype=assignment_dtype,
            schedule_epochs=schedule_epochs,
            own_cluster_below=own_cluster_below,
        )
        check_whole_number("num_clusterings", num_clusterings, 1)
        if not is_number(vote_power) or not vote_power >= 0:
            raise ValueError(
                f"Expected vote_power of at least 0, got {vote_power!r}: "
                "change vote_power (.inf draws among the most voted)."
            )
        check_flag("share_cluster", share_cluster)
        self.num_clusterings = num_clusterings
        self.vote_power = vote_power
        self.share_cluster = share_cluster
        labels = torch.empty(num_clusterings, 0, dtype=torch.int32)
        self.register_buffer("labels", labels)
        shape = num_clusterings, self.max_clusters, max(1, self.max_neighbors)
        self.register_buffer("neighbors", torch.zeros(shape).long())
        # Over the epoch: votes of what was drawn, and how many were drawn.
        self.register_buffer("drawn_votes", torch.zeros(2, dtype=torch.long))
        # Made when first needed and not in `prepare`, after which the first
        # rank's clusters may be copied to this one.
        self._draws: VoteDraws | None = None
        self.register_load_state_dict_post_hook(_forget_draws)

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers; raise a ValueError if K exceeds the utterances."""
        super().allocate(num_utterances, reference_dim, queue)
        shape = self.num_clusterings, num_utterances
        self.labels = self.labels.new_full(shape, -1)
        self.drawn_votes.zero_()
        _forget_draws(self)

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Cluster the references seen so far several times."""
        seen, references = self._read_space(bank)
        former = self.labels[0].clone()
        self.labels.fill_(-1)
        for number in range(self.num_clusterings):
            clustering = self.kmeans.fit(
                references,
                seed=seed + epoch + _SEED_STRIDE * number,
                progress=self._shows_progress(seen),
            )
            self.labels[number, seen] = clustering.labels.int()
            self._present_neighbors()[number].copy_(
                self._find_neighbors(clustering.centroids)
            )
        self._compare_clusters(former)
        self.drawn_votes.zero_()
        _forget_draws(self)

    def _present_neighbors(self) -> Tensor:
        """Return the neighbours of the present K and M."""
        num_ranks = max(1, self.num_neighbors)
        return self.neighbors[:, : self.num_clusters, :num_ranks]

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 for none."""
        uniform = anchors.draw_uniform(stream=1)
        slots = queue.slots
        drawn, _ = self._vote_draws().select(anchors.index, uniform, slots)
        slot = slots[drawn.clamp(min=0)].long()
        return torch.where(drawn >= 0, slot, -1)

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select utterances among all that are clustered, -1 for none."""
        return self._draw_among_all(anchors.index, anchors.seed, anchors.epoch)[
            0
        ]

    def _draw_among_all(
        self, index: Tensor, seed: int, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Draw for many anchors; return the drawn, and their votes."""
        draws, parts = self._vote_draws(), []
        for part in draws.split(index):
            uniform = draw_uniform(seed, epoch, part, stream=1)
            parts.append(draws.select(part, uniform))
        drawn, votes = zip(*parts, strict=True)
        return torch.cat(drawn), torch.cat(votes)

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return the votes of each utterance's most voted candidate.

        As a fraction of the clusterings. Among equals, one is surer whose
        reference has a higher cosine with that of its candidate, in the space
        that was clustered.
        """
        confidence = torch.full(
            bank.seen.shape, -torch.inf, device=bank.seen.device
        )
        most_voted = self._make_draws(math.inf)
        every = torch.arange(len(confidence), device=confidence.device)
        for index in most_voted.split(every):
            uniform = draw_uniform(seed, epoch, index, stream=1)
            drawn, votes = most_voted.select(index, uniform)
            found = drawn >= 0
            index, drawn, votes = index[found], drawn[found], votes[found]
            anchors = self.whitening(bank.references[index].float())
            others = self.whitening(bank.references[drawn].float())
            cosines = (anchors * others).sum(1)
            # Less than a vote, whatever the cosine.
            sure = votes + (cosines.clamp(-1, 1) + 1) * 0.49
            confidence[index] = (sure / self.num_clusterings).float()
        return confidence

    def on_drawn(self, index: Tensor, drawn: Tensor) -> None:
        """Count the votes of what a step drew, on all ranks."""
        found = drawn >= 0
        votes = self.votes(index, drawn.clamp(min=0))
        self.drawn_votes += torch.stack([(votes * found).sum(), found.sum()])

    def votes(self, index: Tensor, candidates: Tensor) -> Tensor:
        """Count the votes of one candidate for every anchor.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        candidates : torch.Tensor
            `(batch,)` int64, another utterance for each.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, in how many clusterings the candidate lies in a
            neighbour cluster of the anchor's.
        """
        votes = torch.zeros_like(index)
        for labels, neighbors in zip(
            self.labels, self._present_neighbors(), strict=True
        ):
            own, other = labels[index].long(), labels[candidates].long()
            near = (neighbors[own.clamp(min=0)] == other[:, None]).any(1)
            votes += near & (own >= 0) & (other >= 0)
        return votes

    def all_clusters(self) -> Tensor:
        """Return the first clustering's cluster of every utterance."""
        return self.labels[0]

    def metrics(self) -> dict[str, float]:
        """Return what is known without labels of the present clusters.

        Sizes, and cluster_agreement with the epoch before, are of the first
        clustering. clusterings_agree: the adjusted Rand index of each
        clustering and the next, on average. reciprocal_clusters: as of
        `ClusteringSampling`, the mean over the clusterings. votes: of what was
        drawn so far, on average, as a fraction of the clusterings.
        """
        row = super().metrics()
        if row:
            row |= self._clustering_signs()
        votes, num_drawn = self.drawn_votes.tolist()
        if num_drawn:
            row["votes"] = votes / (num_drawn * self.num_clusterings)
        return row

    def _clustering_signs(self) -> dict[str, float]:
        signs = {}
        clustered = self.labels[0] >= 0
        if self.num_clusterings > 1:
            signs["clusterings_agree"] = fmean(
                adjusted_rand_index(one[clustered], other[clustered])
                for one, other in pairwise(self.labels)
            )
        if self.num_neighbors:
            signs["reciprocal_clusters"] = fmean(
                reciprocal_clusters(labels, neighbors)
                for labels, neighbors in zip(
                    self.labels, self._present_neighbors(), strict=True
                )
            )
        return signs

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {
            **super().index_ranges(),
            "labels": (-1, self.max_clusters),
            "neighbors": (0, self.max_clusters),
            "drawn_votes": (0, 2**62),
        }

    def _vote_draws(self) -> VoteDraws:
        """Return what the steps of the epoch draw by."""
        if self._draws is None or self._draws.device != self.labels.device:
            self._draws = self._make_draws(self.vote_power)
        return self._draws

    def _make_draws(self, vote_power: float) -> VoteDraws:
        return VoteDraws(
            self.labels,
            self._present_neighbors(),
            vote_power,
            self.share_cluster or not self.num_neighbors,
        )


def _forget_draws(strategy: ConsensusSampling, _: Any = None) -> None:
    strategy._draws = None
