"""A pseudo-positive among those with the same neighbours, twice. Ours."""

from typing import Any

import torch
from torch import Tensor

from ssps_plugin.checks import check_whole_number, is_number
from ssps_plugin.memory import (
    PositiveQueue,
    ReferenceBank,
    ranges_of_parts,
)
from ssps_plugin.sampling.draw import draw_ranks
from ssps_plugin.sampling.joined_references import JoinedReferences
from ssps_plugin.sampling.neighbor_lists import (
    MIN_OVERLAP,
    NUM_NEIGHBORS,
    NeighborLists,
    renew_lists,
)
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy


class SharedNeighborSampling(SamplingStrategy):
    """Draw among the utterances whose neighbours are the anchor's own.

    At each epoch's start the nearest neighbours of every reference are
    searched. A candidate is an utterance with which the anchor shares at least
    `min_overlap` of its neighbours, of this epoch and of the one before
    (`NeighborLists`). One of the candidates is drawn, uniformly.

    There is no number of clusters to be chosen, and no schedule. Where
    speakers are told apart well, nearly every anchor has many candidates, in
    several recordings. Where they are not, few anchors have one, and the
    others keep their own positives: the least overlap says how sure a draw is,
    without labels, and alike on three corpora (docs/beyond.md).

    Lists are meant to be short for the corpus: of 20 among some hundred
    utterances, much is shared by chance, so that a larger overlap is asked for
    (`NeighborLists.least_overlap`) or, among fewer than 400, a warning given.

    It is ours, not published. Lists of two epochs are needed, so the two
    epochs before SSPS starts fill the memories. After a warm start, and where
    SSPS starts in epoch 2, the first SSPS epoch substitutes nothing. Where the
    sampler renews references in some epochs only (`reference_interval`), two of
    those are compared, and after a warm start that many substitute nothing.

    Time and memory: an epoch's start compares all references with all others,
    in chunks. Lists and candidates take 4 bytes for each entry,
    `2 * (num_neighbors + 1) + max_candidates` for every utterance. Each of the
    `joined_epochs`, where they are more than one, takes a list, and a reference
    of two bytes a number.

    Arguments
    ---------
    num_neighbors : int
        Utterances on a list, at least 1.
    min_overlap : float
        The least overlap of a candidate, in (0, 1]; more where chance gives
        it.
    whitening : float
        Power of the transform of the references.
    max_candidates : int
        Of an anchor with more candidates, those of the largest overlap.
    joined_epochs : int
        An epoch's references are its own and those of the epochs before, so
        many of them, joined (`JoinedReferences`), and are compared with those
        of as many epochs before. Twice as many epochs fill the memories, and a
        further reference memory is kept for each, in half precision. More
        anchors have a candidate then, as rightly (docs/beyond.md).

    Raises
    ------
    ValueError
        An argument is out of range.

    Example
    -------
    >>> strategy = SharedNeighborSampling(num_neighbors=20, min_overlap=0.08)
    """

    has_confidence = True
    holds_back = True
    num_fill_epochs = 2

    def __init__(
        self,
        num_neighbors: int = NUM_NEIGHBORS,
        min_overlap: float = MIN_OVERLAP,
        whitening: float = 1.0,
        max_candidates: int = 64,
        joined_epochs: int = 1,
    ) -> None:
        super().__init__(whitening, rank_decay=0.0)
        check_whole_number("num_neighbors", num_neighbors, 1)
        check_whole_number("max_candidates", max_candidates, 1)
        check_whole_number("joined_epochs", joined_epochs, 1)
        if not is_number(min_overlap) or not 0 < min_overlap <= 1:
            raise ValueError(
                "Expected min_overlap in (0, 1], the least fraction of shared "
                f"neighbours, got {min_overlap!r}: change min_overlap."
            )
        self.num_neighbors = num_neighbors
        self.min_overlap = min_overlap
        self.max_candidates = max_candidates
        self.num_fill_epochs = 2 * joined_epochs
        self.lists = NeighborLists(num_neighbors, epochs_apart=joined_epochs)
        self.joined = None
        if joined_epochs > 1:
            self.joined = JoinedReferences(joined_epochs)
        # Found when first needed and not in `prepare`, after which the first
        # rank's lists may be copied to this one.
        self._found: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(_forget_candidates)

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the lists; raise a ValueError for too few utterances."""
        super().allocate(num_utterances, reference_dim, queue)
        self.check_enough(num_utterances, "training utterances")
        self.lists.allocate(num_utterances)
        if self.joined is not None:
            self.joined.allocate(num_utterances, reference_dim)
        _forget_candidates(self)

    def check_enough(self, num_utterances: int, what: str) -> None:
        """Raise a ValueError for no more utterances than are on a list."""
        if num_utterances <= self.num_neighbors:
            raise ValueError(
                f"Expected more {what} than num_neighbors, got "
                f"{num_utterances} and {self.num_neighbors}: change "
                "num_neighbors."
            )

    def observe(self, bank: ReferenceBank) -> None:
        """Search the neighbours of the references seen so far."""
        renew_lists(self.lists, self.whitening, bank, self.joined)
        _forget_candidates(self)

    @property
    def is_conclusive(self) -> bool:
        """Whether nobody to draw means that nobody is told apart."""
        return self.lists.are_conclusive

    def explain_holding_back(self) -> str:
        """Say why anchors kept their own positives."""
        return self.lists.explain_holding_back()

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Raise a ValueError if `observe` has seen too few utterances."""
        num_seen = int(bank.seen.sum())
        self.check_enough(num_seen, "utterances seen so far")

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select slots of the queue, `(batch,)` int64, -1 for none."""
        slots = queue.slots
        drawn = self._draw(anchors, slots)
        slot = slots[drawn.clamp(min=0)].long()
        return torch.where(drawn >= 0, slot, -1)

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select utterances among all that have a list, -1 for none."""
        return self._draw(anchors)

    def _draw(self, anchors: Anchors, slots: Tensor | None = None) -> Tensor:
        """Draw a candidate, with a slot if slots are given; -1 for none."""
        candidates = self._candidates()[0][anchors.index].long()
        may_be_drawn = candidates >= 0
        if slots is not None:
            may_be_drawn &= slots[candidates.clamp(min=0)] >= 0
        count = may_be_drawn.cumsum(1)
        nth = draw_ranks(
            anchors.draw_uniform(stream=1), count[:, -1], decay=0.0
        )
        place = (count > nth[:, None]).int().argmax(1, keepdim=True)
        drawn = candidates.gather(1, place).squeeze(1)
        return torch.where(count[:, -1] > 0, drawn, -1)

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return the overlap with the candidate of the largest one."""
        overlap = self._candidates()[1]
        return torch.where(overlap > 0, overlap, -torch.inf)

    def _candidates(self) -> tuple[Tensor, Tensor]:
        """Return every utterance's candidates and its largest overlap."""
        device = self.lists.present.device
        if self._found is None or self._found[0].device != device:
            self._found = self.lists.find_sharing(
                self.lists.least_overlap(self.min_overlap), self.max_candidates
            )
        return self._found

    def metrics(self) -> dict[str, float]:
        """Return what is known without labels of the present lists.

        with_candidates: fraction of the utterances that have one. candidates:
        how many those have. overlap: the largest of each utterance, on
        average. kept_neighbors, mutual_neighbors: see `NeighborLists.metrics`.
        Empty before there are lists of two epochs.
        """
        if not self.lists.are_of_two_epochs:
            return {}
        candidates, overlap = self._candidates()
        num = (candidates >= 0).sum(1)
        has_one = num > 0
        return {
            "with_candidates": float(has_one.double().mean()),
            "candidates": float(num.sum()) / max(1, int(has_one.sum())),
            "overlap": float(overlap.double().mean()),
            **self.lists.metrics(),
        }

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return ranges_of_parts(lists=self.lists, joined=self.joined)


def _forget_candidates(strategy: SharedNeighborSampling, _: Any = None) -> None:
    strategy._found = None
