"""What the strategies that cluster share: their sizes, which may change."""

from typing import Any

import torch
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from ssps_plugin.checks import check_whole_number
from ssps_plugin.clustering import (
    SphericalKMeans,
    adjusted_rand_index,
    nearest_clusters,
)
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling.schedule import Schedule, make_schedule
from ssps_plugin.sampling.strategy import SamplingStrategy

# From this many utterances on, clustering is slow enough for a progress bar.
_MANY_UTTERANCES = 100_000
# Above this fraction, one of two or three clusters holds nearly everything.
_MOST = 0.9
# Less than any adjusted Rand index.
_UNKNOWN = -1.0


class ClusterStrategy(SamplingStrategy):
    """Base class: cluster the references into K clusters with M neighbours.

    K and M may change over the epochs of SSPS. Buffers are allocated for the
    largest ones, so a state keeps its shape; where one of them changes, the
    present ones are part of the state.

    Arguments
    ---------
    num_clusters : int, sequence of two int, or Schedule
        K, at least 1; `[first, last]` goes from one to the other by equal
        ratios over `schedule_epochs`.
    num_neighbors : int, sequence of two int, or Schedule
        M, how many neighbouring clusters to draw from, in [0, K); 0 is the
        anchor's own. `[first, last]` goes by equal differences, rounded.
    whitening, rank_decay : float
        As in `SamplingStrategy`.
    num_iterations, assignment_dtype
        As in `SphericalKMeans`.
    schedule_epochs : int, optional
        SSPS epochs from the first to the last of `[first, last]`.
    own_cluster_below : int
        M is 0 in epochs with fewer clusters than this; 0: in none.

    Raises
    ------
    ValueError
        An argument is out of range.
    """

    present_clusters: Tensor
    present_neighbors: Tensor
    cluster_agreement: Tensor

    has_clusters = True
    has_confidence = True
    optional_entries = ("cluster_agreement",)

    def __init__(
        self,
        num_clusters: int | list[int] | Schedule,
        num_neighbors: int | list[int] | Schedule,
        whitening: float,
        rank_decay: float,
        num_iterations: int,
        assignment_dtype: str,
        schedule_epochs: int | None = None,
        own_cluster_below: int = 0,
    ) -> None:
        super().__init__(whitening, rank_decay)
        _check_whole_numbers("num_clusters", num_clusters, at_least=1)
        _check_whole_numbers("num_neighbors", num_neighbors)
        check_whole_number("own_cluster_below", own_cluster_below, 0)
        self._clusters_of_epoch = make_schedule(
            "num_clusters", num_clusters, schedule_epochs, geometric=True
        )
        self._neighbors_of_epoch = make_schedule(
            "num_neighbors", num_neighbors, schedule_epochs
        )
        self.own_cluster_below = own_cluster_below
        sizes = self._all_sizes()
        all_clusters, all_neighbors = (
            {round(number) for number in schedule.bounds()}
            for schedule in (self._clusters_of_epoch, self._neighbors_of_epoch)
        )
        self.max_clusters, self.max_neighbors = (
            max(all_clusters),
            max(all_neighbors),
        )
        #: Whether K or M changes over the epochs, or would over more of them.
        self.is_scheduled = (
            len(set(sizes)) > 1 or len(all_clusters) * len(all_neighbors) > 1
        )
        #: K and M of the present epoch.
        self.num_clusters, self.num_neighbors = sizes[0]
        self.kmeans = SphericalKMeans(
            self.num_clusters, num_iterations, assignment_dtype
        )
        for name, size in (
            ("present_clusters", self.num_clusters),
            ("present_neighbors", self.num_neighbors),
        ):
            self.register_buffer(
                name, torch.tensor(size), persistent=self.is_scheduled
            )
        # Of the present clustering and that of the epoch before; _UNKNOWN
        # without one.
        self.register_buffer("cluster_agreement", torch.tensor(_UNKNOWN))
        self.register_load_state_dict_pre_hook(_complete_state)
        self.register_load_state_dict_post_hook(_take_up_sizes)

    def _all_sizes(self) -> list[tuple[int, int]]:
        """Return K and M of all epochs; raise a ValueError if one is wrong."""
        schedules = self._clusters_of_epoch, self._neighbors_of_epoch
        num_epochs = max(schedule.num_epochs for schedule in schedules)
        sizes = [self._sizes_of(epoch) for epoch in range(num_epochs)]
        for num_clusters, num_neighbors in sizes:
            if num_clusters < 1:
                raise ValueError(
                    "Expected num_clusters of at least 1 in every epoch, got "
                    f"{num_clusters}: change num_clusters."
                )
            if not 0 <= num_neighbors < num_clusters:
                raise ValueError(
                    f"Expected num_neighbors in [0, {num_clusters}), at least "
                    "0 (the anchor's own cluster) and less than num_clusters, "
                    f"got {num_neighbors}: change num_neighbors or "
                    "num_clusters."
                )
        return sizes

    def _sizes_of(self, epoch: int) -> tuple[int, int]:
        num_clusters = round(self._clusters_of_epoch.at(epoch))
        num_neighbors = round(self._neighbors_of_epoch.at(epoch))
        if num_clusters < self.own_cluster_below:
            num_neighbors = 0
        return num_clusters, num_neighbors

    def set_epoch(self, ssps_epoch: int) -> None:
        """Set K and M to those of an epoch of SSPS, from 0."""
        num_clusters, num_neighbors = self._sizes_of(ssps_epoch)
        self.present_clusters.fill_(num_clusters)
        self.present_neighbors.fill_(num_neighbors)
        self._use_sizes(num_clusters, num_neighbors)

    def _use_sizes(self, num_clusters: int, num_neighbors: int) -> None:
        # Known to the host: no step waits for a device to read the buffers.
        self.num_clusters, self.num_neighbors = num_clusters, num_neighbors
        self.kmeans.num_clusters = num_clusters

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers; raise a ValueError if K exceeds the utterances."""
        super().allocate(num_utterances, reference_dim, queue)
        self._check_clusters(
            num_utterances, "utterances of the training set", self.max_clusters
        )
        self.cluster_agreement.fill_(_UNKNOWN)
        self.set_epoch(0)

    def all_clusters(self) -> Tensor:
        """Return the cluster of every utterance, -1 for none.

        Returns
        -------
        torch.Tensor
            `(num_utterances,)`, an integer dtype.
        """
        raise NotImplementedError

    def _compare_clusters(self, former: Tensor) -> None:
        """Take note of how far a former clustering agrees with the present.

        Arguments
        ---------
        former : torch.Tensor
            `(num_utterances,)`, an integer dtype, -1 for none.
        """
        present = self.all_clusters()
        both = (former >= 0) & (present >= 0)
        agreement = _UNKNOWN
        if bool(both.any()):
            agreement = adjusted_rand_index(former[both], present[both])
        self.cluster_agreement.fill_(agreement)

    def cluster_of(self, index: Tensor) -> Tensor:
        """Return the cluster of every utterance, `(batch,)`, -1 for none."""
        return self.all_clusters()[index].long()

    def metrics(self) -> dict[str, float]:
        """Return what is known without labels of the present clusters.

        The smallest, median and largest size, and empty clusters.
        cluster_agreement: the adjusted Rand index of this clustering and that
        of the epoch before, once there was one. Where K or M changes over the
        epochs, the present ones.
        """
        sizes = self._sizes()
        if not bool(sizes.any()):
            return {}
        row = {
            "cluster_size_min": float(sizes.min()),
            "cluster_size_median": float(sizes.median()),
            "cluster_size_max": float(sizes.max()),
            "empty_clusters": float((sizes == 0).sum()),
        }
        agreement = float(self.cluster_agreement)
        if agreement > _UNKNOWN:
            row["cluster_agreement"] = agreement
        if self.is_scheduled:
            row["num_clusters"] = float(self.num_clusters)
            row["num_neighbors"] = float(self.num_neighbors)
        return row

    def find_fault(self) -> str | None:
        """Say if one cluster holds nearly all, or most are empty."""
        sizes = self._sizes()
        num, largest = int(sizes.sum()), int(sizes.max())
        num_empty = int((sizes == 0).sum())
        # With two or three clusters, one may well hold more than half.
        fraction = min(_MOST, max(0.5, 3 / self.num_clusters))
        if self.num_clusters > 1 and largest > fraction * num:
            return (
                f"one of the {self.num_clusters} clusters holds "
                f"{100 * largest / num:.1f} % of the utterances and "
                f"{num_empty} are empty, so the references hardly differ. Try "
                "whitening: 0.5, or start SSPS later, from an encoder that "
                "tells utterances apart"
            )
        if num and num_empty > self.num_clusters / 2:
            return (
                f"{num_empty} of the {self.num_clusters} clusters are empty, "
                "so there are fewer different references than clusters. Lower "
                "num_clusters, or look for copies among the recordings"
            )
        return None

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {
            "present_clusters": (1, self.max_clusters + 1),
            "present_neighbors": (0, self.max_neighbors + 1),
        }

    def _sizes(self) -> Tensor:
        """Count the utterances of every cluster, `(num_clusters,)` int64."""
        clusters = self.all_clusters()
        clustered = clusters[clusters >= 0]
        return clustered.bincount(minlength=self.num_clusters)

    def _read_space(self, bank: ReferenceBank) -> tuple[Tensor, Tensor]:
        """Return the utterances seen, and their references as clustered.

        Raises
        ------
        ValueError
            There are fewer than clusters.
        """
        seen, references = bank.read_seen()
        self.check_enough(len(seen), "utterances seen so far")
        self.whitening.fit(references)
        return seen, self.whitening(references)

    @staticmethod
    def _shows_progress(seen: Tensor) -> bool:
        return len(seen) >= _MANY_UTTERANCES and if_main_process()

    def _find_neighbors(self, centroids: Tensor) -> Tensor:
        """Find the clusters that each cluster's members draw from.

        Returns
        -------
        torch.Tensor
            `(num_clusters, num_neighbors)` int64, the nearest first; one
            column, a cluster's own number, where `num_neighbors` is 0.
        """
        if self.num_neighbors:
            return nearest_clusters(centroids, self.num_neighbors)
        return torch.arange(len(centroids), device=centroids.device)[:, None]

    def check_enough(self, num_utterances: int, what: str) -> None:
        """Raise a ValueError for fewer utterances than clusters."""
        self._check_clusters(num_utterances, what, self.num_clusters)

    @staticmethod
    def _check_clusters(num: int, what: str, num_clusters: int) -> None:
        if num < num_clusters:
            raise ValueError(
                f"Expected at least num_clusters ({num_clusters}) {what}, "
                f"got {num}: lower num_clusters. A rule of thumb: utterances "
                "per recording < utterances / num_clusters < utterances per "
                "speaker."
            )


def _check_whole_numbers(
    name: str, value: Any, at_least: int | None = None
) -> None:
    """Raise a ValueError unless a number, or all of a list, is whole."""
    if isinstance(value, Schedule):
        return
    is_list = hasattr(value, "__iter__") and not isinstance(value, str)
    for number in value if is_list else [value]:
        check_whole_number(name, number, at_least)


def _complete_state(
    strategy: ClusterStrategy, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Take up a state that was saved before the agreement was known."""
    unknown = torch.full_like(strategy.cluster_agreement, _UNKNOWN)
    state.setdefault(f"{prefix}cluster_agreement", unknown)


def _take_up_sizes(strategy: ClusterStrategy, _: Any = None) -> None:
    strategy._use_sizes(
        int(strategy.present_clusters), int(strategy.present_neighbors)
    )
