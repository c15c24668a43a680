"""The utterance that an anchor draws from its drawn cluster."""

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue
from ssps_plugin.sampling.draw import draw_ranks


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
        # Waits for the device, once an epoch.
        self._largest_size = int(self._sizes.max())

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
        sizes = self._sizes.index_select(0, index)
        ends = sizes.cumsum(0)
        starts = ends - sizes
        anchor, utterance = self._list_members(index, starts, ends)
        slots = queue.slots.index_select(0, utterance)
        eligible = slots >= 0
        eligible &= utterance != index.index_select(0, anchor)
        # How many are eligible up to each place, and before an anchor's first.
        count = eligible.cumsum(0)
        before = (count - eligible.long()).index_select(0, starts)
        num_eligible = count.index_select(0, (ends - 1).clamp(min=0)) - before
        num_eligible = torch.where(sizes > 0, num_eligible, 0)
        uniform = self._uniform.index_select(0, index)
        nth = before + draw_ranks(uniform, num_eligible, decay=0.0)
        drawn = torch.searchsorted(count, nth + 1).clamp(max=len(count) - 1)
        selected = slots.index_select(0, drawn).long()
        return selected.masked_fill_(num_eligible == 0, -1)

    def _list_members(
        self, index: Tensor, starts: Tensor, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """List the members of the drawn clusters, anchor after anchor.

        The places of anchor i are `starts[i]` to `ends[i] - 1`. At least one
        more follows the last, which belongs to no anchor.

        Returns
        -------
        anchor : torch.Tensor
            `(num_places,)` int64, the row of the anchor.
        utterance : torch.Tensor
            `(num_places,)` int32, the member.
        """
        place = torch.arange(self._num_places(ends), device=ends.device)
        anchor = torch.searchsorted(ends, place, right=True)
        anchor = anchor.clamp(max=len(ends) - 1)
        offsets = self._first.index_select(0, index) - starts
        member = place + offsets.index_select(0, anchor)
        member = member.clamp(max=len(self._members) - 1)
        return anchor, self._members.index_select(0, member)

    def _num_places(self, ends: Tensor) -> int:
        """Return the number of places; on a GPU, the largest it can be.

        There the number itself is known only after a wait for the device.
        """
        if ends.device.type == "cpu":
            return int(ends[-1]) + 1
        return len(ends) * self._largest_size + 1
