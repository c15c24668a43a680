"""SSPS-NN: a pseudo-positive among the nearest references."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ssps_plugin.clustering import check_whole_number, top_k
from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling.draw import draw_ranks
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

# The number of keys, the queue's scratch row among them, is a multiple of this:
# so every row of similarities starts aligned in memory.
_KEY_MULTIPLE = 32
# Of a chunk of anchors to all utterances, where partners are selected: 512 MB.
_MOST_SIMILARITIES = 1 << 27


class NearestNeighborSampling(SamplingStrategy):
    """Draw among the utterances in the queue that are nearest to the anchor.

    Of the utterances that have a slot in the queue, other than the anchor's,
    the `num_neighbors` whose references are nearest to the anchor's by cosine
    are found, and one of them is drawn.

    Arguments
    ---------
    num_neighbors : int
        M, how many to draw from, at least 1.
    whitening : float
        Power of the transform of the references: 0 is the published method.
    rank_decay : float
        Prefer nearer ones, p(rank) proportional to exp(-rank_decay · rank); 0
        draws uniformly.

    Raises
    ------
    ValueError
        An argument is out of range.

    Source: SSPS-NN, Lepage and Dehak, Interspeech 2025 (arXiv 2505.14561).
    """

    keys: Tensor
    bias: Tensor

    has_confidence = True

    def __init__(
        self,
        num_neighbors: int,
        whitening: float = 0.0,
        rank_decay: float = 0.0,
    ) -> None:
        super().__init__(whitening, rank_decay)
        check_whole_number("num_neighbors", num_neighbors, 1)
        self.num_neighbors = num_neighbors
        # The transformed reference of every slot. A step updates those that it
        # writes, which saves gathering all of them in every step.
        self.register_buffer("keys", torch.empty(0, 0))
        self.register_buffer("bias", torch.empty(0))

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers for the queue's slots."""
        super().allocate(num_utterances, reference_dim, queue)
        num_keys = (queue.size // _KEY_MULTIPLE + 1) * _KEY_MULTIPLE
        self.keys = self.keys.new_zeros(num_keys, reference_dim)
        self.bias = self.bias.new_full((num_keys,), -torch.inf)

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Transform the reference of every slot of the queue."""
        if self.whitening.power > 0:
            self.whitening.fit(bank.read_seen()[1])
        utterances = queue.utterances
        references = bank.references[utterances.clamp(min=0)].float()
        self.keys[: queue.size] = self.whitening(references)
        self._hide_empty_slots(bank, queue)

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select among the nearest of all seen references, -1 for none."""
        partners = torch.full_like(anchors.index, -1)
        uniform = anchors.draw_uniform(stream=1)
        references = anchors.reference
        for rows, cosines in self._compare(anchors.index, references, bank):
            partners[rows] = self._draw_nearest(cosines, uniform[rows])
        return partners

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return the cosine of each reference to the nearest of all others.

        As `select_partners` does, it compares all with all.
        """
        index, references = bank.read_seen()
        confidence = torch.full(
            bank.seen.shape, -torch.inf, device=index.device
        )
        for rows, cosines in self._compare(index, references, bank):
            confidence[index[rows]] = cosines.amax(1)
        return confidence

    def _compare(
        self, index: Tensor, references: Tensor, bank: ReferenceBank
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield some rows, and their cosines to all: -inf to own and unseen."""
        keys = self.whitening(bank.references.float())
        chunk = max(1, _MOST_SIMILARITIES // len(keys))
        for start in range(0, len(index), chunk):
            rows = slice(start, start + chunk)
            cosines = self.whitening(references[rows].float()) @ keys.T
            cosines[:, ~bank.seen] = -torch.inf
            cosines.scatter_(1, index[rows, None], -torch.inf)
            yield rows, cosines

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 for none."""
        anchor = self.whitening(anchors.reference)
        # Cosines to all keys, -inf where a slot is empty.
        similarity = torch.addmm(self.bias, anchor, self.keys.T)
        own = queue.slots.index_select(0, anchors.index).long()
        # For an anchor without a slot, a similarity is written back as it was.
        column = torch.where(own >= 0, own, 0)[:, None]
        kept = similarity.gather(1, column)
        hidden = torch.where(own[:, None] >= 0, -torch.inf, kept)
        similarity.scatter_(1, column, hidden)
        return self._draw_nearest(similarity, anchors.draw_uniform(stream=1))

    def _draw_nearest(self, similarity: Tensor, uniform: Tensor) -> Tensor:
        """Draw among the columns nearest to each row, -1 where all are -inf."""
        count = min(self.num_neighbors, similarity.shape[1])
        values, columns = top_k(similarity, count)
        num_found = values.isfinite().sum(1)
        rank = draw_ranks(uniform, num_found, self.rank_decay)
        drawn = columns.gather(1, rank[:, None]).squeeze(1)
        return torch.where(num_found > 0, drawn, -1)

    def on_enqueued(
        self,
        slots: Tensor,
        index: Tensor,
        bank: ReferenceBank,
        queue: PositiveQueue,
    ) -> None:
        """Update the keys of the slots that a step wrote."""
        keys = self.whitening(bank.references[index].float())
        self.keys.index_copy_(0, slots, keys)
        self._hide_empty_slots(bank, queue)

    def _hide_empty_slots(
        self, bank: ReferenceBank, queue: PositiveQueue
    ) -> None:
        """Hide slots that are empty, or of an utterance without reference."""
        utterances = queue.utterances
        is_known = (utterances >= 0) & bank.seen[utterances.clamp(min=0)]
        self.bias[: queue.size] = torch.where(is_known, 0.0, -torch.inf)
