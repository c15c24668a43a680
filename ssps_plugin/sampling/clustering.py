"""SSPS-Clustering: a pseudo-positive from a neighbouring cluster."""

from dataclasses import replace
from typing import Any

import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssps_plugin.clustering import SphericalKMeans, nearest_clusters
from ssps_plugin.memory import PositiveLayout, PositiveQueue, ReferenceBank
from ssps_plugin.sampling.cluster_draws import ClusterDraws
from ssps_plugin.sampling.draw import rank_of
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

# From this many utterances on, clustering takes long enough for a bar.
_LONG_CLUSTERING = 100_000


class ClusteringSampling(SamplingStrategy):
    """Draw from the clusters nearest to the anchor's.

    At each epoch's start the references are clustered by spherical k-means.
    For an anchor in cluster c, a cluster is drawn among the `num_neighbors`
    nearest other clusters of c (c itself when `num_neighbors` is 0), then an
    utterance uniformly among those of that cluster that are in the queue.
    With more clusters than speakers, clusters come out as recordings, and the
    neighbouring one is likely the same speaker in another recording.

    Arguments
    ---------
    num_clusters : int
        K. A rule of thumb: utterances per recording < utterances / K <
        utterances per speaker.
    num_neighbors : int
        M, how many neighbouring clusters to draw from.
    whitening : float
        Power of the transform of the references: 0 is the published method,
        0.5 ours and better on small corpora.
    rank_decay : float
        Prefer nearer clusters, p(rank) proportional to
        exp(-rank_decay · rank); 0 draws them uniformly.
    num_iterations : int
        Iterations of k-means where it starts from random members.
    assignment_dtype : str
        "float32", or "bfloat16" for faster assignment steps.
    reuse_centroids : bool
        From the second clustering on, start from the last centroids and do
        one iteration: several times faster. By default every epoch starts
        from random members, as published. New clusters bring an anchor new
        neighbours; kept ones confirm the pairs of the epoch before, right or
        wrong, which cost accuracy in one of two seeds on MiniVox.

    Source: SSPS-Clustering, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561). Differs: the anchor's own utterance is never drawn,
    which the authors' code allows for M = 0.
    """

    centroids: Tensor
    neighbors: Tensor
    clusters: Tensor

    has_clusters = True

    def __init__(
        self,
        num_clusters: int,
        num_neighbors: int,
        whitening: float = 0.0,
        rank_decay: float = 0.0,
        num_iterations: int = 10,
        assignment_dtype: str = "float32",
        reuse_centroids: bool = False,
    ) -> None:
        super().__init__(whitening, rank_decay)
        if num_clusters < 1:
            raise ValueError(
                f"num_clusters must be at least 1, got {num_clusters}."
            )
        if not 0 <= num_neighbors < num_clusters:
            raise ValueError(
                "num_neighbors must be at least 0 (the anchor's own cluster) "
                f"and less than num_clusters ({num_clusters}), "
                f"got {num_neighbors}."
            )
        self.num_clusters = num_clusters
        self.num_neighbors = num_neighbors
        self.reuse_centroids = reuse_centroids
        self.kmeans = SphericalKMeans(
            num_clusters, num_iterations, assignment_dtype
        )
        self.register_buffer("centroids", torch.empty(num_clusters, 0))
        self.register_buffer(
            "neighbors", torch.zeros(num_clusters, max(1, num_neighbors)).long()
        )
        self.register_buffer("clusters", torch.empty(0, dtype=torch.long))
        # Of the epoch that a step was last in, made when first needed: the
        # first rank's clusters may come to lie here after `prepare`.
        self._draws: ClusterDraws | None = None
        self._draws_are_for: tuple[int, int, torch.device] | None = None
        self.register_load_state_dict_post_hook(_forget_draws)

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers; K may not exceed the number of utterances."""
        super().allocate(num_utterances, reference_dim, queue)
        self._check_enough(num_utterances, "utterances of the training set")
        self.centroids = self.centroids.new_zeros(
            self.num_clusters, reference_dim
        )
        self.clusters = self.clusters.new_full((num_utterances,), -1)
        _forget_draws(self)

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Cluster the references seen so far and find neighbour clusters."""
        seen, references = bank.read_seen()
        self._check_enough(len(seen), "utterances seen so far")
        self.whitening.fit(references)
        again = self.reuse_centroids and bool((self.clusters >= 0).any())
        clustering = self.kmeans.fit(
            self.whitening(references),
            seed=seed + epoch,
            initial_centroids=self.centroids if again else None,
            progress=len(seen) >= _LONG_CLUSTERING and if_main_process(),
        )
        self.centroids.copy_(clustering.centroids)
        self.clusters.fill_(-1)
        self.clusters[seen] = clustering.labels
        if self.num_neighbors:
            self.neighbors.copy_(
                nearest_clusters(self.centroids, self.num_neighbors)
            )
        else:
            own = torch.arange(self.num_clusters, device=self.neighbors.device)
            self.neighbors.copy_(own[:, None])
        _forget_draws(self)

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 where none."""
        return self._draws_of(anchors).select(anchors.index, queue)

    def draw_cluster(self, anchors: Anchors) -> Tensor:
        """Draw a neighbouring cluster per anchor, -1 for an unseen one."""
        own = self.clusters[anchors.index]
        num_choices = self.neighbors.shape[1]
        if num_choices > 1:
            ranks = torch.full_like(own, num_choices)
            draws = anchors.uniform(stream=0)
            rank = rank_of(draws, ranks, self.rank_decay)
            drawn = self.neighbors[own.clamp(min=0), rank]
        else:
            drawn = self.neighbors[:, 0].index_select(0, own.clamp(min=0))
        return torch.where(own >= 0, drawn, -1)

    def cluster_of(self, index: Tensor) -> Tensor:
        """Cluster of every utterance, -1 where none, `(batch,)` int64."""
        return self.clusters[index]

    def metrics(self) -> dict[str, float]:
        """Sizes of the clusters: smallest, median, largest; empty ones."""
        clustered = self.clusters[self.clusters >= 0]
        if not len(clustered):
            return {}
        sizes = clustered.bincount(minlength=self.num_clusters)
        return {
            "cluster_size_min": float(sizes.min()),
            "cluster_size_median": float(sizes.median()),
            "cluster_size_max": float(sizes.max()),
            "empty_clusters": float((sizes == 0).sum()),
        }

    def _draws_of(self, anchors: Anchors) -> ClusterDraws:
        """Make what every utterance draws, in an epoch's first step."""
        needed = (anchors.seed, anchors.epoch, anchors.index.device)
        if self._draws is None or self._draws_are_for != needed:
            every = torch.arange(len(self.clusters), device=needed[2])
            everyone = replace(anchors, index=every)
            self._draws = ClusterDraws.of(
                self.clusters,
                self.num_clusters,
                drawn=self.draw_cluster(everyone),
                uniform=everyone.uniform(stream=1),
                may_draw_itself=self.num_neighbors == 0,
            )
            self._draws_are_for = needed
        return self._draws

    def _check_enough(self, num: int, what: str) -> None:
        if num < self.num_clusters:
            raise ValueError(
                f"num_clusters is {self.num_clusters}, but there are only "
                f"{num} {what}. Set num_clusters lower; a rule of thumb: "
                "utterances per recording < utterances / num_clusters < "
                "utterances per speaker."
            )


def _forget_draws(strategy: ClusteringSampling, _: Any = None) -> None:
    strategy._draws = None


class CentroidSampling(ClusteringSampling):
    """Substitute the centroid of a neighbouring cluster itself.

    Makes sense only where positives live in the space of the references: no
    head, references not whitened. It stands for every target of an utterance.
    Every anchor whose utterance was clustered is covered, whatever the queue
    holds.

    Arguments
    ---------
    num_clusters, num_neighbors, rank_decay, ...
        As in `ClusteringSampling`.

    Source: the centroid variant of SSPS, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561).
    """

    draws_references = True

    def check_spaces(self, reference_dim: int, layout: PositiveLayout) -> None:
        """Raise a ValueError where centroids and positives cannot agree."""
        if layout.dim != reference_dim:
            raise ValueError(
                "CentroidSampling substitutes centroids of references, so "
                "positives must live in their space: it needs positive_dim "
                f"equal to reference_dim ({reference_dim}), got {layout.dim}. "
                "Use ClusteringSampling with a head."
            )
        if self.whitening.power > 0:
            raise ValueError(
                "CentroidSampling needs whitening: 0.0, since centroids of "
                "whitened references do not live in the space of the "
                f"positives, got {self.whitening.power}."
            )

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select centroids, `(batch,)` int64, -1 for an unseen utterance."""
        return self.draw_cluster(anchors)

    def pool(self, queue: PositiveQueue) -> Tensor:
        """Return the centroids, `(num_targets, num_clusters, dim)`."""
        return self.centroids.expand(len(queue.positives), -1, -1)

    def drawn_utterances(self, rows: Tensor, queue: PositiveQueue) -> Tensor:
        """No utterance is drawn: -1 everywhere."""
        return rows.new_full(rows.shape, -1)

    def cluster_of_positives(
        self, index: Tensor, drawn: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the clusters whose centroids were taken."""
        return torch.where(rows >= 0, rows, self.cluster_of(index))
