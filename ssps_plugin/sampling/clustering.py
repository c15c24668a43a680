"""SSPS-Clustering: a pseudo-positive from a neighbouring cluster."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ssps_plugin.checks import check_flag
from ssps_plugin.memory import PositiveLayout, PositiveQueue, ReferenceBank
from ssps_plugin.sampling.cluster_draws import ClusterDraws
from ssps_plugin.sampling.cluster_strategy import ClusterStrategy
from ssps_plugin.sampling.draw import draw_ranks
from ssps_plugin.sampling.schedule import Schedule
from ssps_plugin.sampling.signs import reciprocal_clusters
from ssps_plugin.sampling.strategy import Anchors

# References compared with centroids at once.
_CHUNK_ROWS = 2**16


class ClusteringSampling(ClusterStrategy):
    """Draw from the clusters nearest to the anchor's.

    At each epoch's start the references are clustered by spherical k-means.
    For an anchor in cluster c, a cluster is drawn among the `num_neighbors`
    nearest other clusters of c (c itself when `num_neighbors` is 0), then an
    utterance uniformly among those of that cluster that are in the queue.
    With more clusters than speakers, clusters come out as recordings, and the
    neighbouring one is likely the same speaker in another recording.

    Arguments
    ---------
    num_clusters : int, sequence of two int, or Schedule
        K, at least 1. A rule of thumb: utterances per recording <
        utterances / K < utterances per speaker. `[first, last]`, which is
        ours, goes from one to the other by equal ratios.
    num_neighbors : int, sequence of two int, or Schedule
        M, how many neighbouring clusters to draw from, in [0, K).
        `[first, last]`, ours, goes by equal differences, rounded.
    whitening : float
        Power of the transform of the references: 0 is the published method,
        0.5 ours and better on small corpora.
    rank_decay : float
        Prefer nearer clusters, p(rank) proportional to
        exp(-rank_decay · rank); 0 draws them uniformly.
    num_iterations : int
        Iterations of k-means from random members.
    assignment_dtype : str
        "float32", or "bfloat16" for faster assignments.
    reuse_centroids : bool
        From the second clustering on, start from the last centroids and do
        one iteration: several times faster. By default every epoch starts
        from random members, as published. New clusters give an anchor new
        neighbours. Kept ones repeat the pairs of the epoch before, right or
        wrong, which cost accuracy with one of two seeds on MiniVox.
    schedule_epochs : int, optional
        SSPS epochs from the first to the last of `[first, last]`.
    own_cluster_below : int
        M is 0 in epochs with fewer clusters than this; 0: in none.

    Raises
    ------
    ValueError
        An argument is out of range, or centroids are to be reused by another
        number of clusters.

    Source: SSPS-Clustering, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561). Differs: the anchor's own utterance is never drawn,
    which the authors' code allows for M = 0.
    """

    centroids: Tensor
    neighbors: Tensor
    clusters: Tensor

    def __init__(
        self,
        num_clusters: int | list[int] | Schedule,
        num_neighbors: int | list[int] | Schedule,
        whitening: float = 0.0,
        rank_decay: float = 0.0,
        num_iterations: int = 10,
        assignment_dtype: str = "float32",
        reuse_centroids: bool = False,
        schedule_epochs: int | None = None,
        own_cluster_below: int = 0,
    ) -> None:
        super().__init__(
            num_clusters,
            num_neighbors,
            whitening,
            rank_decay,
            num_iterations,
            assignment_dtype,
            schedule_epochs,
            own_cluster_below,
        )
        check_flag("reuse_centroids", reuse_centroids)
        if reuse_centroids and len({k for k, _ in self._all_sizes()}) > 1:
            raise ValueError(
                "Expected reuse_centroids False where num_clusters changes, "
                "since other clusters have other centroids, got True: change "
                "reuse_centroids."
            )
        self.reuse_centroids = reuse_centroids
        self.register_buffer("centroids", torch.empty(self.max_clusters, 0))
        shape = self.max_clusters, max(1, self.max_neighbors)
        self.register_buffer("neighbors", torch.zeros(shape).long())
        self.register_buffer("clusters", torch.empty(0, dtype=torch.long))
        # Made in an epoch's first step and not in `prepare`, after which the
        # first rank's clusters may be copied to this one.
        self._draws: ClusterDraws | None = None
        self._draws_key: tuple[int, int, torch.device] | None = None
        self.register_load_state_dict_post_hook(_forget_draws)

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers; raise a ValueError if K exceeds the utterances."""
        super().allocate(num_utterances, reference_dim, queue)
        self.centroids = self.centroids.new_zeros(
            self.max_clusters, reference_dim
        )
        self.clusters = self.clusters.new_full((num_utterances,), -1)
        _forget_draws(self)

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Cluster the references seen so far; find neighbouring clusters."""
        seen, references = self._read_space(bank)
        reuse = self.reuse_centroids and bool((self.clusters >= 0).any())
        clustering = self.kmeans.fit(
            references,
            seed=seed + epoch,
            initial_centroids=self.centroids if reuse else None,
            progress=self._shows_progress(seen),
        )
        centroids, neighbors = self._present()
        centroids.copy_(clustering.centroids)
        former = self.clusters.clone()
        self.clusters.fill_(-1)
        self.clusters[seen] = clustering.labels
        self._compare_clusters(former)
        neighbors.copy_(self._find_neighbors(centroids))
        _forget_draws(self)

    def _present(self) -> tuple[Tensor, Tensor]:
        """Return the centroids and neighbours of the present K and M."""
        num_ranks = max(1, self.num_neighbors)
        return (
            self.centroids[: self.num_clusters],
            self.neighbors[: self.num_clusters, :num_ranks],
        )

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 for none."""
        return self._draws_of(anchors).select(anchors.index, queue)

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select utterances among all that are clustered, -1 for none."""
        every = torch.arange(len(self.clusters), device=self.clusters.device)
        clustered = torch.where(self.clusters >= 0, every, -1)
        draws = self._draws_of(anchors)
        parts = anchors.index.split(draws.rows_at_once)
        return torch.cat([draws.select_among(p, clustered) for p in parts])

    def draw_clusters(self, anchors: Anchors) -> Tensor:
        """Draw a neighbouring cluster for every anchor.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, -1 for an utterance without a cluster.
        """
        own = self.clusters[anchors.index]
        _, neighbors = self._present()
        rank = draw_ranks(
            anchors.draw_uniform(stream=0),
            torch.full_like(own, neighbors.shape[1]),
            self.rank_decay,
        )
        drawn = neighbors[own.clamp(min=0), rank]
        return torch.where(own >= 0, drawn, -1)

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return the cosine of each reference to the nearest neighbour cluster.

        To that cluster's centroid, in the space that was clustered; to the own
        cluster's where M is 0, and -inf for an utterance that is alone there.
        """
        centroids, neighbors = self._present()
        confidence = torch.full(
            self.clusters.shape, -torch.inf, device=self.clusters.device
        )
        clustered = (self.clusters >= 0).nonzero().flatten()
        sizes = (
            self.clusters[clustered].long().bincount(minlength=len(centroids))
        )
        for index in clustered.split(_CHUNK_ROWS):
            references = self.whitening(bank.references[index].float())
            own = self.clusters[index]
            drawn_from = neighbors[own, 0]
            cosine = (references * centroids[drawn_from]).sum(1)
            is_alone = (drawn_from == own) & (sizes[own] == 1)
            confidence[index] = cosine.masked_fill(is_alone, -torch.inf)
        return confidence

    def all_clusters(self) -> Tensor:
        """Return the cluster of every utterance, `(num_utterances,)` int64."""
        return self.clusters

    def metrics(self) -> dict[str, float]:
        """Return what is known without labels of the present clusters.

        Beside what all clusterings have, reciprocal_clusters: the fraction of
        utterances whose neighbouring cluster, the nearest, has theirs for its
        nearest one; not where M is 0.
        """
        row = super().metrics()
        if row and self.num_neighbors:
            row["reciprocal_clusters"] = reciprocal_clusters(
                self.clusters, self._present()[1]
            )
        return row

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {
            **super().index_ranges(),
            "clusters": (-1, self.max_clusters),
            "neighbors": (0, self.max_clusters),
        }

    def _draws_of(self, anchors: Anchors) -> ClusterDraws:
        """Return what every utterance draws in the anchors' epoch."""
        key = (anchors.seed, anchors.epoch, anchors.index.device)
        if self._draws is None or self._draws_key != key:
            index = torch.arange(len(self.clusters), device=key[2])
            every = replace(anchors, index=index)
            self._draws = ClusterDraws(
                self.clusters,
                self.num_clusters,
                drawn=self.draw_clusters(every),
                uniform=every.draw_uniform(stream=1),
            )
            self._draws_key = key
        return self._draws


def _forget_draws(strategy: ClusteringSampling, _: Any = None) -> None:
    strategy._draws = None


class CentroidSampling(ClusteringSampling):
    """Substitute the centroid of a neighbouring cluster itself.

    This makes sense only if positives are in the space of the references: no
    head, no whitening. The centroid is used for every target of an utterance.
    Every anchor whose utterance was clustered gets one, whatever the queue
    holds.

    Arguments
    ---------
    num_clusters, num_neighbors, rank_decay, ...
        As in `ClusteringSampling`.

    Source: the centroid variant of SSPS, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561).
    """

    draws_references = True
    selects_partners = False

    def check_spaces(self, reference_dim: int, layout: PositiveLayout) -> None:
        """Raise a ValueError if centroids and positives are in two spaces."""
        if layout.dim != reference_dim:
            raise ValueError(
                "Expected positive_dim equal to reference_dim "
                f"({reference_dim}), since CentroidSampling substitutes "
                f"centroids of references, got {layout.dim}: change "
                "positive_dim, or use ClusteringSampling with a head."
            )
        if self.whitening.power > 0:
            raise ValueError(
                "Expected whitening 0.0, since CentroidSampling substitutes "
                "centroids of references and whitened ones are not in the "
                f"space of the positives, got {self.whitening.power}: change "
                "whitening."
            )

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select centroids, `(batch,)` int64, -1 for none."""
        return self.draw_clusters(anchors)

    def pool(self, queue: PositiveQueue) -> Tensor:
        """Return the centroids, `(num_targets, num_clusters, dim)`."""
        return self.centroids.expand(len(queue.positives), -1, -1)

    def drawn_utterances(self, rows: Tensor, queue: PositiveQueue) -> Tensor:
        """Return -1 for every row: a centroid is no utterance."""
        return rows.new_full(rows.shape, -1)

    def cluster_of_positives(
        self, index: Tensor, drawn: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the cluster of every selected centroid."""
        return torch.where(rows >= 0, rows, self.cluster_of(index))
