"""What every utterance draws in one epoch, looked up by the steps."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue, in_huge_pages
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
        rows = in_huge_pages(first.new_empty(len(drawn), 3))
        columns = [first, sizes, uniform.view(torch.int64)]
        torch.stack(columns, dim=1, out=rows)
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
        # The members of all anchors' drawn clusters, one after the other.
        ends = sizes.cumsum(0)
        starts = ends - sizes
        place = self._for_each_member((first - starts).int(), sizes, ends)
        place += torch.arange(
            len(place), dtype=torch.int32, device=place.device
        )
        if not self._on_host:
            place = place.clamp(max=len(self.members) - 1)
        utterance = self.members.index_select(0, place)
        slots = queue.slots.index_select(0, utterance)
        eligible = slots >= 0
        if self.may_draw_itself:
            eligible &= utterance != self._for_each_member(index, sizes, ends)
        found = self._places_of(eligible)
        if not len(found):
            return torch.full_like(index, -1)
        # Of those found, an anchor has the ones between its start and its end.
        before = torch.searchsorted(found, starts)
        num_eligible = torch.searchsorted(found, ends) - before
        nth = before + rank_of(uniform, num_eligible, decay=0.0)
        drawn = found.index_select(0, nth.clamp(max=len(found) - 1))
        selected = slots.index_select(0, drawn).long()
        return selected.masked_fill_(num_eligible == 0, -1)

    def _for_each_member(
        self, values: Tensor, sizes: Tensor, ends: Tensor
    ) -> Tensor:
        """Repeat an anchor's value for each of its members, `(total,)`.

        On a GPU the list has a fixed length, so that nothing waits for the
        host; what lies beyond the last member, at least one place, belongs to
        no anchor.
        """
        if self._on_host:  # where numpy is twice as fast
            return torch.from_numpy(np.repeat(values.numpy(), sizes.numpy()))
        total = len(sizes) * self._largest + 1
        place = torch.arange(total, device=sizes.device)
        anchor = torch.searchsorted(ends, place, right=True)
        return values.index_select(0, anchor.clamp(max=len(sizes) - 1))

    def _places_of(self, eligible: Tensor) -> Tensor:
        """Ascending places that are true; on a GPU, filled up with the last."""
        if self._on_host:
            return torch.from_numpy(np.flatnonzero(eligible.numpy()))
        place = torch.arange(1, len(eligible) + 1, device=eligible.device)
        found = torch.searchsorted(eligible.cumsum(0), place)
        return found.clamp(max=len(eligible) - 1)

    @property
    def _on_host(self) -> bool:
        return self.members.device.type == "cpu"

    @cached_property
    def _largest(self) -> int:
        # Waits for the device, once an epoch.
        return int(self.rows[:, 1].max())
