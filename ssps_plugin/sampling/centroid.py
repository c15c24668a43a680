"""SSPS with centroids: the neighbouring cluster's centroid as positive."""

from torch import Tensor

from ssps_plugin.memory import PositiveLayout, PositiveQueue
from ssps_plugin.sampling.clustering import ClusteringSampling
from ssps_plugin.sampling.strategy import Anchors


class CentroidSampling(ClusteringSampling):
    """Substitute the centroid of a neighbouring cluster itself.

    Makes sense only where positives live in the space of the references: no
    head, one target, references not whitened. Every anchor whose utterance was
    clustered is covered, whatever the queue holds.

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
        if layout.num_targets != 1 or layout.dim != reference_dim:
            raise ValueError(
                "CentroidSampling substitutes centroids of references, so "
                "positives must live in their space: it needs one target and "
                f"positive_dim equal to reference_dim ({reference_dim}), got "
                f"{layout.num_targets} target(s) of dimension {layout.dim}. "
                "Use ClusteringSampling with a head or several targets."
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
        """Return the centroids, `(1, num_clusters, dim)`."""
        return self.centroids[None]

    def drawn_utterances(self, rows: Tensor, queue: PositiveQueue) -> Tensor:
        """No utterance is drawn: -1 everywhere."""
        return rows.new_full(rows.shape, -1)
