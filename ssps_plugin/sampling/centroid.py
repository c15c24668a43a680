"""SSPS with centroids: the neighbouring cluster's centroid as positive."""

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveLayout, PositiveQueue
from ssps_plugin.sampling.clustering import ClusteringSampling
from ssps_plugin.sampling.strategy import Anchors


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
