"""The utterance that an anchor draws by the votes of several clusterings."""

import torch
from torch import Tensor

from ssps_plugin.sampling.parts import split_by_places

# The weight of an anchor's most voted candidates. The sum of as many as there
# are candidates fits into int64.
_LARGEST_WEIGHT = 2**36
# Candidates counted at once where all utterances are anchors: 32 MB a list.
_MOST_PLACES = 2**22


class VoteDraws:
    """Count the votes of candidates in several clusterings, and draw by them.

    A candidate has a vote of each clustering in which it lies in one of the
    neighbour clusters of the anchor's. There is no table of pairs: the members
    of an anchor's neighbour clusters are listed, sorted and counted. All of it
    is in integers, so every device draws the same.

    It follows from the clusterings, so it is not saved; it takes 4 bytes for
    every utterance and clustering.

    Arguments
    ---------
    labels : torch.Tensor
        `(num_clusterings, num_utterances)` int32 or int64, the cluster of each
        utterance, -1 for none.
    neighbors : torch.Tensor
        `(num_clusterings, num_clusters, num_neighbors)` int64, the clusters
        that the members of each draw from.
    vote_power : float
        Draw in proportion to votes ** vote_power; infinity draws among the
        most voted only, uniformly.
    share_cluster : bool
        False leaves out candidates that are in the anchor's cluster in any of
        the clusterings.

    Example
    -------
    >>> labels = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0]])
    >>> neighbors = torch.tensor([[[1], [0]], [[1], [0]]])
    >>> draws = VoteDraws(labels, neighbors, vote_power=float("inf"))
    >>> uniform = torch.tensor([0.5, 0.5]).double()
    >>> drawn, votes = draws.select(torch.tensor([0, 1]), uniform)
    >>> drawn.tolist(), votes.tolist()  # 0 and 3 have both votes of 1
    ([1, 3], [2, 2])
    """

    def __init__(
        self,
        labels: Tensor,
        neighbors: Tensor,
        vote_power: float,
        share_cluster: bool = True,
    ) -> None:
        num_clusterings, num_clusters, _ = neighbors.shape
        device = labels.device
        self.device = device
        self._labels = labels
        self._share_cluster = share_cluster
        self._weights = self._weigh(num_clusterings, vote_power).to(device)
        bounds, members = [], []
        for number, of_one in enumerate(labels):
            ordered, order = torch.sort(of_one, stable=True)
            clusters = torch.arange(
                num_clusters + 1, device=device, dtype=of_one.dtype
            )
            offset = number * labels.shape[1]
            bounds.append(torch.searchsorted(ordered, clusters) + offset)
            members.append(order.int())
        # The members of all clusters, one clustering after another, and where
        # those of a neighbour cluster begin and how many they are:
        # (num_clusterings, num_clusters, num_neighbors).
        self._members = torch.cat(members)
        self._firsts = torch.stack(
            [
                of_one[near]
                for of_one, near in zip(bounds, neighbors, strict=True)
            ]
        )
        self._sizes = torch.stack(
            [
                of_one.diff()[near]
                for of_one, near in zip(bounds, neighbors, strict=True)
            ]
        )
        # These wait for the device, once an epoch.
        self._num_candidates = self._count_candidates()
        self._most_candidates = int(self._num_candidates.max())

    @staticmethod
    def _weigh(num_clusterings: int, vote_power: float) -> Tensor:
        """Return the weight by the most votes of an anchor and the votes."""
        weights = torch.zeros(num_clusterings + 1, num_clusterings + 1).long()
        for most in range(1, num_clusterings + 1):
            for votes in range(1, most + 1):
                weight = _LARGEST_WEIGHT * (votes / most) ** vote_power
                weights[most, votes] = round(weight)
        return weights

    def _count_candidates(self) -> Tensor:
        """Count what is listed for each utterance, `(num_utterances,)`."""
        num = torch.zeros(self._labels.shape[1], dtype=torch.long)
        num = num.to(self._labels.device)
        for labels, sizes in zip(self._labels, self._sizes, strict=True):
            of_one = sizes.sum(1)[labels.clamp(min=0)]
            num += torch.where(labels >= 0, of_one, 0)
        return num

    def split(self, index: Tensor) -> list[Tensor]:
        """Split anchors into parts whose candidates fit into memory."""
        if self.device.type != "cpu":  # where every anchor has as many places
            most = max(1, self._most_candidates)
            return list(index.split(max(1, _MOST_PLACES // most)))
        num_places = self._num_candidates[index]
        return split_by_places(index, num_places, _MOST_PLACES)

    def select(
        self, index: Tensor, uniform: Tensor, slots: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw a candidate for every anchor; never itself.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        uniform : torch.Tensor
            `(batch,)` float64 in [0, 1), the number that each draws by.
        slots : torch.Tensor, optional
            `(num_utterances,)`, negative for an utterance that may not be
            drawn; by default all may that have a cluster.

        Returns
        -------
        drawn : torch.Tensor
            `(batch,)` int64, an utterance, -1 for none.
        votes : torch.Tensor
            `(batch,)` int64, its votes, 0 for none.
        """
        keys = self._list_candidates(index, slots)
        if not len(keys):
            return torch.full_like(index, -1), torch.zeros_like(index)
        keys, votes = self._count(torch.sort(keys).values)
        row = keys >> self._bits
        candidate = keys & ((1 << self._bits) - 1)
        if not self._share_cluster:
            votes = votes * ~self._are_together(index, row, candidate)
        most = votes.new_zeros(len(index) + 1)
        most.scatter_reduce_(0, row, votes, "amax")
        weights = self._weights[most[row], votes]
        # The weights before each place, and of each anchor.
        ends = weights.cumsum(0)
        rows = torch.arange(len(index) + 1, device=row.device)
        starts = torch.searchsorted(row, rows)
        bounds = torch.cat([ends.new_zeros(1), ends])[starts]
        total = bounds.diff()
        nth = bounds[:-1] + (uniform * total).long()
        place = torch.searchsorted(ends, nth, right=True)
        place = place.clamp(max=len(ends) - 1)
        drawn = torch.where(total > 0, candidate[place], -1)
        return drawn, torch.where(total > 0, votes[place], 0)

    @property
    def _bits(self) -> int:
        """Bits of a key that hold the candidate; above them is the row."""
        return self._labels.shape[1].bit_length()

    def _list_candidates(self, index: Tensor, slots: Tensor | None) -> Tensor:
        """List a key for every vote: of the anchor's row, and who has it.

        A key of a row after the last one is of no anchor.
        """
        # (batch, num_clusterings, num_neighbors)
        first, sizes = self._members_of_neighbors(index)
        shape, (first, sizes) = first.shape, (first.flatten(), sizes.flatten())
        ends = sizes.cumsum(0)
        place_of, is_real = self._list_places(len(index), sizes, ends)
        member = (first - (ends - sizes))[place_of]
        member += torch.arange(len(member), device=member.device)
        member = member.clamp(max=len(self._members) - 1)
        candidate = self._members[member].long()
        row = torch.arange(len(index), device=index.device)
        row = row[:, None].expand(-1, shape[1] * shape[2]).flatten()[place_of]
        may_be_drawn = candidate != index[row]
        if slots is not None:
            may_be_drawn &= slots[candidate] >= 0
        if is_real is not None:
            may_be_drawn &= is_real
            row = torch.where(may_be_drawn, row, len(index))
            return (row << self._bits) | candidate
        return ((row << self._bits) | candidate)[may_be_drawn]

    def _members_of_neighbors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Where members of the neighbour clusters begin, and how many."""
        first, sizes = [], []
        for number, of_one in enumerate(self._labels):
            label = of_one[index].long()
            near = label.clamp(min=0)
            first.append(self._firsts[number, near])
            size = self._sizes[number, near]
            sizes.append(torch.where(label[:, None] >= 0, size, 0))
        return torch.stack(first, 1), torch.stack(sizes, 1)

    def _list_places(
        self, num_anchors: int, sizes: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return which cluster each place is of; None: every place is real."""
        if sizes.device.type == "cpu":
            return torch.repeat_interleave(sizes), None
        return self._list_places_without_waiting(num_anchors, sizes, ends)

    def _list_places_without_waiting(
        self, num_anchors: int, sizes: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Do the same on a GPU, whose host does not know how many places.

        So there are as many as there can be, and which are real is returned.
        """
        num_places = num_anchors * self._most_candidates + 1
        place = torch.arange(num_places, device=sizes.device)
        cluster = torch.searchsorted(ends, place, right=True)
        return cluster.clamp(max=len(sizes) - 1), place < ends[-1]

    def _count(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Count equal keys of a sorted list; return each once, and its count.

        On a GPU, keys stay where they are and have 0 votes but for the first.
        """
        if keys.device.type == "cpu":
            return torch.unique_consecutive(keys, return_counts=True)
        return self._count_without_waiting(keys)

    def _count_without_waiting(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        is_first = torch.ones_like(keys, dtype=torch.bool)
        is_first[1:] = keys[1:] != keys[:-1]
        votes = is_first.long()
        for later in range(1, len(self._labels)):
            votes[:-later] += is_first[:-later] & (
                keys[later:] == keys[:-later]
            )
        return keys, votes

    def _are_together(
        self, index: Tensor, row: Tensor, candidate: Tensor
    ) -> Tensor:
        """Return which candidates are in their anchor's cluster anywhere."""
        anchor = index[row.clamp(max=len(index) - 1)]
        together = torch.zeros_like(row, dtype=torch.bool)
        for labels in self._labels:
            together |= labels[anchor] == labels[candidate]
        return together
