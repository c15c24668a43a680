"""What every utterance draws in one epoch, looked up by the steps."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue
from ssps_plugin.sampling.draw import rank_of


@dataclass(frozen=True)
class ClusterDraws:
    """Utterances listed by cluster, and the slice each utterance draws from.

    All that a draw derives from (seed, epoch, utterance) and the clusters is
    made once, in one row per utterance; a step only looks up its rows. Takes
    28 bytes per utterance. It follows from the clusters, so it is not saved.

    Arguments
    ---------
    members : torch.Tensor
        `(num_utterances,)` int32, the utterances in the order of their
        clusters; those in no cluster come first.
    rows : torch.Tensor
        `(num_utterances, 3)` int64. Place in `members` of the first utterance
        of the drawn cluster, how many it has (0 where none is drawn), and the
        bits of a float64 in [0, 1).
    may_draw_itself : bool
        Whether an utterance may lie in the cluster it draws from; it is then
        left out.
    """

    members: Tensor
    rows: Tensor
    may_draw_itself: bool

    @classmethod
    def of(
        cls,
        clusters: Tensor,
        num_clusters: int,
        drawn: Tensor,
        uniform: Tensor,
        may_draw_itself: bool,
    ) -> "ClusterDraws":
        """List the members of the clusters; waits for no device.

        Arguments
        ---------
        clusters : torch.Tensor
            `(num_utterances,)` int64, the cluster of each, -1 for none.
        num_clusters : int
            How many clusters there are.
        drawn : torch.Tensor
            `(num_utterances,)` int64, the cluster each draws from, -1 for none.
        uniform : torch.Tensor
            `(num_utterances,)` float64 in [0, 1), to draw a member by.
        may_draw_itself : bool
            Whether any utterance lies in the cluster it draws from.

        Example
        -------
        >>> clusters = torch.tensor([0, 1, -1, 0])
        >>> drawn = torch.tensor([1, 0, -1, 1])
        >>> uniform = torch.tensor([0.5, 0.25, 0.0, 0.75]).double()
        >>> draws = ClusterDraws.of(clusters, 2, drawn, uniform, False)
        >>> draws.members.tolist()
        [2, 0, 3, 1]
        >>> [column.tolist() for column in draws.look_up(torch.tensor([1, 0]))]
        [[1, 3], [2, 1], [0.25, 0.5]]
        """
        ordered, members = torch.sort(clusters, stable=True)
        bounds = torch.searchsorted(
            ordered, torch.arange(num_clusters + 1, device=clusters.device)
        )
        known = drawn.clamp(min=0)
        first = bounds[known]
        sizes = torch.where(drawn >= 0, bounds[known + 1] - first, 0)
        columns = [first, sizes, uniform.view(torch.int64)]
        rows = torch.stack(columns, dim=1)
        return cls(members.int(), rows, may_draw_itself)

    def look_up(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First place, number of members and uniform number, `(batch,)` each.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the utterances.
        """
        first, sizes, bits = self.rows.index_select(0, index).unbind(1)
        return first, sizes, bits.view(torch.float64)

    def select(self, index: Tensor, queue: PositiveQueue) -> Tensor:
        """Draw among the members of the drawn clusters that have a slot.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        queue : PositiveQueue
            Tells who has a slot.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, a slot; -1 where no member has one.
        """
        first, sizes, uniform = self.look_up(index)
        # The members of all anchors' drawn clusters, one after the other, and
        # at least one place more, which belongs to no anchor.
        ends = sizes.cumsum(0)
        starts = ends - sizes
        place = torch.arange(self._num_places(ends), device=ends.device)
        anchor = torch.searchsorted(ends, place, right=True)
        anchor = anchor.clamp(max=len(ends) - 1)
        member = place + (first - starts).index_select(0, anchor)
        member = member.clamp(max=len(self.members) - 1)
        utterance = self.members.index_select(0, member)
        slots = queue.slots.index_select(0, utterance)
        eligible = slots >= 0
        if self.may_draw_itself:
            eligible &= utterance != index.index_select(0, anchor)
        # Before each place, how many are eligible.
        count = eligible.cumsum(0)
        before = (count - eligible.long()).index_select(0, starts)
        num_eligible = count.index_select(0, (ends - 1).clamp(min=0)) - before
        num_eligible = torch.where(sizes > 0, num_eligible, 0)
        nth = before + rank_of(uniform, num_eligible, decay=0.0)
        drawn = torch.searchsorted(count, nth + 1).clamp(max=len(place) - 1)
        selected = slots.index_select(0, drawn).long()
        return selected.masked_fill_(num_eligible == 0, -1)

    def _num_places(self, ends: Tensor) -> int:
        """Return the places of a step; on a GPU as many as there may be.

        There the number itself is known after a wait only.
        """
        if ends.device.type == "cpu":
            return int(ends[-1]) + 1
        return len(ends) * self._largest + 1

    @cached_property
    def _largest(self) -> int:
        # Waits for the device, once an epoch.
        return int(self.rows[:, 1].max())
