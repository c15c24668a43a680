"""SSPS-NN: a pseudo-positive among the nearest references."""

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue, ReferenceBank, copy_rows
from ssps_plugin.sampling.draw import rank_of
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

# The largest of a block of this many similarities is found by a vectorised
# maximum; only the blocks that can hold a nearest neighbour are then sorted.
_BLOCK = 8
# Keys come in multiples of this, the queue's scratch row among them.
_KEY_MULTIPLE = 32


class NearestNeighborSampling(SamplingStrategy):
    """Draw among the utterances in the queue nearest to the anchor.

    Among the utterances that have a slot in the queue, the `num_neighbors`
    whose reference is nearest to the anchor's by cosine are found, its own
    utterance excluded, and one of them is drawn.

    Arguments
    ---------
    num_neighbors : int
        M, how many to draw from, at least 1.
    whitening : float
        Power of the transform of the references, 0 as published.
    rank_decay : float
        Prefer nearer ones, p(rank) proportional to exp(-rank_decay · rank).

    Source: SSPS-NN, Lepage and Dehak, Interspeech 2025 (arXiv 2505.14561).
    """

    keys: Tensor
    bias: Tensor

    def __init__(
        self,
        num_neighbors: int,
        whitening: float = 0.0,
        rank_decay: float = 0.0,
    ) -> None:
        super().__init__(whitening, rank_decay)
        if num_neighbors < 1:
            raise ValueError(
                f"num_neighbors must be at least 1, got {num_neighbors}."
            )
        self.num_neighbors = num_neighbors
        # The references of what is in the queue, slot by slot, transformed:
        # kept up to date by the rows a step writes, not gathered every step.
        self.register_buffer("keys", torch.empty(0, 0))
        self.register_buffer("bias", torch.empty(0))

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers for the queue."""
        super().allocate(num_utterances, reference_dim, queue)
        num_keys = (queue.size // _KEY_MULTIPLE + 1) * _KEY_MULTIPLE
        self.keys = self.keys.new_zeros(num_keys, reference_dim)
        self.bias = self.bias.new_full((num_keys,), -torch.inf)

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Transform the references of all that is in the queue."""
        if self.whitening.power > 0:
            self.whitening.fit(bank.read_seen()[1])
        utterances = queue.utterances
        references = bank.references[utterances.clamp(min=0)].float()
        self.keys[: queue.size] = self.whitening(references)
        self._hide_empty_slots(queue)

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 where none."""
        anchor = self.whitening(anchors.reference)
        similarity = self._similarity(anchor, queue)
        own = queue.slots.index_select(0, anchors.index).long()
        # An anchor without a slot writes a similarity back as it was.
        column = torch.where(own >= 0, own, 0)[:, None]
        kept = similarity.gather(1, column)
        hidden = torch.where(own[:, None] >= 0, -torch.inf, kept)
        similarity.scatter_(1, column, hidden)
        values, slots = _largest(similarity, self.num_neighbors)
        num_found = values.isfinite().sum(1)
        rank = rank_of(anchors.uniform(stream=1), num_found, self.rank_decay)
        drawn = slots.gather(1, rank[:, None]).squeeze(1)
        return torch.where(num_found > 0, drawn, -1)

    def remembered(
        self,
        slots: Tensor,
        index: Tensor,
        bank: ReferenceBank,
        queue: PositiveQueue,
    ) -> None:
        """Keep the keys of the slots just written."""
        keys = self.whitening(bank.references[index].float())
        copy_rows(self.keys, slots, keys)
        self._hide_empty_slots(queue)

    def _similarity(self, anchor: Tensor, queue: PositiveQueue) -> Tensor:
        """Cosines to all keys, -inf where a slot is empty."""
        on_host = self.keys.device.type == "cpu"
        if not on_host or int(queue.num_filled()) < queue.size:
            return torch.addmm(self.bias, anchor, self.keys.T)
        # On a CPU the bias is one more pass over all similarities.
        similarity = anchor @ self.keys.T
        similarity[:, queue.size :] = -torch.inf
        return similarity

    def _hide_empty_slots(self, queue: PositiveQueue) -> None:
        self.bias[: queue.size] = torch.where(
            queue.utterances >= 0, 0.0, -torch.inf
        )


def _largest(
    values: Tensor, num: int, descending: bool = True
) -> tuple[Tensor, Tensor]:
    """Find the `num` largest of each row, exactly.

    Arguments
    ---------
    values : torch.Tensor
        `(batch, columns)`.
    num : int
        How many; all, where there are fewer columns.
    descending : bool
        Whether they must come in descending order.

    Returns
    -------
    tuple of torch.Tensor
        The values and their columns, `(batch, num)` each.
    """
    columns = values.shape[1]
    width = columns // _BLOCK
    if width <= num:  # no block could be left out
        return values.topk(min(num, columns), dim=1, sorted=descending)
    # The n largest lie in the n blocks with the largest maxima. A block is
    # every width-th column: the maxima of all blocks are then vectorised.
    blocks = values[:, : _BLOCK * width].unflatten(1, (_BLOCK, width))
    _, block = _largest(blocks.amax(1), num, descending=False)
    within = torch.arange(0, _BLOCK * width, width, device=values.device)
    column = (block[:, None, :] + within[:, None]).flatten(1)
    # What is left beside the whole blocks competes as it is.
    rest = torch.arange(_BLOCK * width, columns, device=values.device)
    column = torch.cat([column, rest.expand(len(values), -1)], dim=1)
    found, place = values.gather(1, column).topk(num, 1, sorted=descending)
    return found, column.gather(1, place)
