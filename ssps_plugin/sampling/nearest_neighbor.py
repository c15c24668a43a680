"""SSPS-NN: a pseudo-positive among the nearest references."""

from collections.abc import Iterator

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.checks import check_whole_number
from ssps_plugin.clustering import top_k
from ssps_plugin.memory import (
    PositiveQueue,
    ReferenceBank,
    ranges_of_parts,
)
from ssps_plugin.sampling.draw import draw_ranks
from ssps_plugin.sampling.inverted_lists import InvertedLists
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

logger = get_logger(__name__)

# The number of keys, the queue's scratch row among them, is a multiple of this:
# so every row of similarities starts aligned in memory.
_KEY_MULTIPLE = 32
# Of a chunk of anchors to all utterances, where partners are selected: 512 MB.
_MOST_SIMILARITIES = 1 << 27
# Anchors that are searched at once among all utterances, in lists.
_CHUNK_ROWS = 2**14
_SEARCHES = ("exact", "faiss")
# Of the nearest, below which a number of probes is warned of.
_LOW_RECALL = 0.9


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
    search : str
        "exact" compares an anchor with everybody in the queue, as published.
        "faiss", which is ours, with those in a few lists of them only, on a
        CPU: several times faster for a queue of a million, hardly for 100 000.
        It finds most of the nearest, not all (see `InvertedLists`).
    num_lists, num_probes : int, optional
        With "faiss": into how many lists the queue is divided when an epoch
        starts, and how many of them are searched. By default 8 times the
        square root of the slots, and the fewest that find 96 % of the nearest,
        as estimated when the epoch starts.

    Raises
    ------
    ValueError
        An argument is out of range, or one of faiss's without it.

    Source: SSPS-NN, Lepage and Dehak, Interspeech 2025 (arXiv 2505.14561).
    """

    keys: Tensor
    bias: Tensor
    estimates: Tensor

    has_confidence = True

    def __init__(
        self,
        num_neighbors: int,
        whitening: float = 0.0,
        rank_decay: float = 0.0,
        search: str = "exact",
        num_lists: int | None = None,
        num_probes: int | None = None,
    ) -> None:
        super().__init__(whitening, rank_decay)
        check_whole_number("num_neighbors", num_neighbors, 1)
        self.num_neighbors = num_neighbors
        if search not in _SEARCHES:
            raise ValueError(
                f"Expected search {' or '.join(_SEARCHES)}, got {search!r}: "
                "change search."
            )
        if search == "exact" and (num_lists, num_probes) != (None, None):
            raise ValueError(
                "Expected num_lists and num_probes with search faiss only, got "
                f"{num_lists} and {num_probes} with {search}: leave them out, "
                "or change search."
            )
        self.lists: InvertedLists | None = None
        if search == "faiss":
            self.lists = InvertedLists(num_lists, num_probes)
            # The recall, and the fraction of lists searched, of the epoch.
            self.register_buffer("estimates", torch.zeros(2))
        # Lists of all utterances, and their keys, while an epoch starts.
        self._everyone: tuple[InvertedLists, Tensor] | None = None
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
        if self.lists is not None:
            self.lists.allocate(num_keys, reference_dim)
            self.estimates.zero_()

    def check_device(self, device: torch.device) -> None:
        """Raise a ValueError where faiss is to search on a GPU."""
        if self.lists is not None and device.type != "cpu":
            raise ValueError(
                "Expected search exact with a sampler on a GPU, since "
                f"faiss-cpu searches on the CPU, got faiss and {device}: "
                "change search, or device to cpu."
            )

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Transform the reference of every slot of the queue."""
        self.end_preparation()
        if self.whitening.power > 0:
            self.whitening.fit(bank.read_seen()[1])
        chunks = zip(
            self.keys[: queue.size].split(_CHUNK_ROWS),
            queue.utterances.clamp(min=0).split(_CHUNK_ROWS),
            strict=True,
        )
        for keys, utterances in chunks:
            keys.copy_(self.whitening(bank.references[utterances].float()))
        self._hide_empty_slots(bank, queue)
        if self.lists is not None:
            estimates = self.lists.divide(
                self.keys, self.bias == 0, self.num_neighbors, seed + epoch
            )
            self._keep_estimates(*estimates)

    def _keep_estimates(self, recall: float, searched: float) -> None:
        """Keep what the epoch's history shows; warn of too few probes."""
        self.estimates.copy_(torch.tensor([recall, searched]))
        num_probes = self.lists and self.lists.num_probes
        if num_probes is not None and recall < _LOW_RECALL:
            logger.warning(
                "A search with num_probes %d finds %.0f %% of the nearest "
                "references, as estimated: raise num_probes, or change it to "
                "null, by which so many lists are searched that 96 %% are "
                "found.",
                num_probes,
                100 * recall,
            )

    def end_preparation(self) -> None:
        """Let go of the lists of all utterances."""
        self._everyone = None

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select among the nearest of all seen references, -1 for none."""
        partners = torch.full_like(anchors.index, -1)
        uniform = anchors.draw_uniform(stream=1)
        nearest = self._nearest_of_all(
            anchors.index,
            anchors.reference,
            bank,
            self.num_neighbors,
            anchors.seed + anchors.epoch,
        )
        for rows, cosines, utterances in nearest:
            partners[rows] = self._draw(cosines, utterances, uniform[rows])
        return partners

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return the cosine of each reference to the nearest of all others.

        As `select_partners` does, it compares all with all.
        """
        index, references = bank.read_seen()
        confidence = torch.full(
            bank.seen.shape, -torch.inf, device=index.device
        )
        nearest = self._nearest_of_all(index, references, bank, 1, seed + epoch)
        for rows, cosines, _ in nearest:
            confidence[index[rows]] = cosines.amax(1)
        return confidence

    def _nearest_of_all(
        self,
        index: Tensor,
        references: Tensor,
        bank: ReferenceBank,
        num_neighbors: int,
        seed: int,
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield some rows, and cosines and utterances nearest to each.

        Among all seen utterances but its own; -inf where there are no more.
        """
        if self.lists is None:
            keys = self.whitening(bank.references.float())
            num_neighbors = min(num_neighbors, len(keys))
            chunk = max(1, _MOST_SIMILARITIES // len(keys))
        else:
            lists, keys = self._lists_of_all(self.lists, bank, seed)
            chunk = _CHUNK_ROWS
        for start in range(0, len(index), chunk):
            rows = slice(start, start + chunk)
            anchors, own = self.whitening(references[rows].float()), index[rows]
            if self.lists is None:
                cosines = anchors @ keys.T
                cosines[:, ~bank.seen] = -torch.inf
                cosines.scatter_(1, own[:, None], -torch.inf)
                yield rows, *top_k(cosines, num_neighbors)
            else:
                yield rows, *lists.search(anchors, keys, own, num_neighbors)

    def _lists_of_all(
        self, like: InvertedLists, bank: ReferenceBank, seed: int
    ) -> tuple[InvertedLists, Tensor]:
        """Return lists of all seen utterances, and the keys in them."""
        if self._everyone is None:
            keys = self.whitening(bank.references.float())
            lists = InvertedLists(like.num_lists, like.num_probes)
            lists.allocate(*keys.shape)
            estimates = lists.divide(keys, bank.seen, self.num_neighbors, seed)
            if not bool((self.bias == 0).any()):  # there is no queue
                self._keep_estimates(*estimates)
            self._everyone = lists, keys
        return self._everyone

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 for none."""
        anchor = self.whitening(anchors.reference)
        uniform = anchors.draw_uniform(stream=1)
        own = queue.slots.index_select(0, anchors.index).long()
        if self.lists is not None:
            nearest = self.lists.search(
                anchor, self.keys, own, self.num_neighbors
            )
            return self._draw(*nearest, uniform)
        # Cosines to all keys, -inf where a slot is empty.
        similarity = torch.addmm(self.bias, anchor, self.keys.T)
        # For an anchor without a slot, a similarity is written back as it was.
        column = torch.where(own >= 0, own, 0)[:, None]
        kept = similarity.gather(1, column)
        hidden = torch.where(own[:, None] >= 0, -torch.inf, kept)
        similarity.scatter_(1, column, hidden)
        count = min(self.num_neighbors, similarity.shape[1])
        return self._draw(*top_k(similarity, count), uniform)

    def _draw(
        self, cosines: Tensor, nearest: Tensor, uniform: Tensor
    ) -> Tensor:
        """Draw one of those nearest to each row, -1 where all are -inf."""
        num_found = cosines.isfinite().sum(1)
        rank = draw_ranks(uniform, num_found, self.rank_decay)
        drawn = nearest.gather(1, rank[:, None]).squeeze(1)
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
        if self.lists is not None:
            is_listed = self.bias == 0
            # What was written, and slots that utterances left.
            is_changed = (self.lists.list_of_key >= 0) & ~is_listed
            is_changed[slots] = True
            self.lists.update(
                is_changed.nonzero().flatten(), self.keys, is_listed
            )

    def _hide_empty_slots(
        self, bank: ReferenceBank, queue: PositiveQueue
    ) -> None:
        """Hide slots that are empty, or of an utterance without reference."""
        utterances = queue.utterances
        is_known = (utterances >= 0) & bank.seen[utterances.clamp(min=0)]
        self.bias[: queue.size] = torch.where(is_known, 0.0, -torch.inf)

    def metrics(self) -> dict[str, float]:
        """Return what is estimated of a search in lists; nothing of the exact.

        search_recall: fraction of the nearest that are found. searched_lists:
        fraction of the lists that are searched.
        """
        if self.lists is None or not bool(self.estimates.any()):
            return {}
        recall, searched = self.estimates.tolist()
        return {"search_recall": recall, "searched_lists": searched}

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return ranges_of_parts(lists=self.lists)
