"""The utterance that an anchor draws from its drawn cluster."""

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue
from ssps_plugin.sampling.draw import draw_ranks

# Members of drawn clusters, listed anchor by anchor.
_MOST_PLACES = 1 << 22


class ClusterDraws:
    """What every utterance draws in one epoch, to be looked up by the steps.

    All of a draw that does not depend on the queue is computed once an epoch:
    the drawn cluster's members and a uniform number, in 28 bytes per utterance.
    It follows from the clusters, so it is not saved.

    Arguments
    ---------
    clusters : torch.Tensor
        `(num_utterances,)` int64, the cluster of each, -1 for none.
    num_clusters : int
        Number of clusters.
    drawn : torch.Tensor
        `(num_utterances,)` int64, the cluster that each draws from, -1 for
        none.
    uniform : torch.Tensor
        `(num_utterances,)` float64 in [0, 1), the number that each draws a
        member by.

    Example
    -------
    >>> queue = PositiveQueue(size=3, dim=1)
    >>> queue.allocate(num_utterances=4)
    >>> slots = queue.enqueue(torch.tensor([3, 1, 0]), torch.zeros(1, 3, 1))
    >>> clusters = torch.tensor([0, 1, -1, 0])
    >>> drawn = torch.tensor([1, 0, -1, 1])
    >>> uniform = torch.tensor([0.5, 0.25, 0.0, 0.75]).double()
    >>> draws = ClusterDraws(clusters, 2, drawn, uniform)
    >>> draws.select(torch.arange(4), queue).tolist()
    [1, 2, -1, 1]
    """

    def __init__(
        self,
        clusters: Tensor,
        num_clusters: int,
        drawn: Tensor,
        uniform: Tensor,
    ) -> None:
        # Utterances in the order of their clusters; those in none come first.
        ordered, members = torch.sort(clusters, stable=True)
        bounds = torch.searchsorted(
            ordered, torch.arange(num_clusters + 1, device=clusters.device)
        )
        cluster = drawn.clamp(min=0)
        self._members = members.int()
        # Of each utterance: where its drawn cluster's members begin in the
        # list, how many they are, and its uniform number.
        self._first = bounds[cluster]
        sizes = bounds[cluster + 1] - self._first
        self._sizes = torch.where(drawn >= 0, sizes, 0)
        self._uniform = uniform
        # These wait for the device, once an epoch.
        self._largest_size = int(self._sizes.max())
        self._may_draw_itself = bool((clusters == drawn).any())

    @property
    def rows_at_once(self) -> int:
        """Anchors that may draw at once: their members take 32 MB a list."""
        return max(1, _MOST_PLACES // max(1, self._largest_size))

    def select(self, index: Tensor, queue: PositiveQueue) -> Tensor:
        """Draw among the members of the drawn clusters that have a slot.

        An utterance never draws itself.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        queue : PositiveQueue
            Says which utterances have a slot.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, a slot; -1 where no member has one.
        """
        return self.select_among(index, queue.slots)

    def select_among(self, index: Tensor, all_slots: Tensor) -> Tensor:
        """Draw as `select` does, among the utterances that have a slot.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        all_slots : torch.Tensor
            `(num_utterances,)`, the slot of each, -1 for none.

        Returns
        -------
        torch.Tensor
            As `select` does.
        """
        sizes = self._sizes.index_select(0, index)
        ends = sizes.cumsum(0)
        starts = ends - sizes
        # The members of the drawn clusters, anchor after anchor: those of
        # anchor i are at the places starts[i] to ends[i] - 1.
        anchor = self._list_anchors(sizes, ends)
        if not len(anchor):
            return torch.full_like(index, -1)
        offsets = self._first.index_select(0, index) - starts
        member = offsets.index_select(0, anchor)
        member += torch.arange(len(anchor), device=anchor.device)
        member = member.clamp(max=len(self._members) - 1)
        utterance = self._members.index_select(0, member)
        slots = all_slots.index_select(0, utterance)
        eligible = slots >= 0
        if self._may_draw_itself:
            eligible &= utterance != index.index_select(0, anchor)
        # How many are eligible before each place, and in all.
        count = starts.new_zeros(len(slots) + 1)
        torch.cumsum(eligible, 0, out=count[1:])
        before = count.index_select(0, starts)
        num_eligible = count.index_select(0, ends) - before
        uniform = self._uniform.index_select(0, index)
        nth = before + draw_ranks(uniform, num_eligible, decay=0.0)
        drawn = torch.searchsorted(count[1:], nth + 1)
        drawn = drawn.clamp(max=len(slots) - 1)
        selected = slots.index_select(0, drawn).long()
        return selected.masked_fill_(num_eligible == 0, -1)

    def _list_anchors(self, sizes: Tensor, ends: Tensor) -> Tensor:
        """Return the row of the anchor of each place, `(num_places,)` int64."""
        if sizes.device.type == "cpu":
            return torch.repeat_interleave(sizes)
        return self._list_anchors_without_waiting(sizes, ends)

    def _list_anchors_without_waiting(
        self, sizes: Tensor, ends: Tensor
    ) -> Tensor:
        """Do the same on a GPU, whose host does not know how many places.

        So there are as many as there can be, and at least one more. What
        follows the last one belongs to no anchor.
        """
        num_places = len(sizes) * self._largest_size + 1
        place = torch.arange(num_places, device=sizes.device)
        anchor = torch.searchsorted(ends, place, right=True)
        return anchor.clamp(max=len(sizes) - 1)
