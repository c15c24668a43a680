"""The positive queue: the last positive embeddings, first in, first out."""

import torch
from torch import Tensor, nn

from ssps_plugin.memory.rows import Repeats, resolve_repeats


class PositiveQueue(nn.Module):
    """FIFO of the last positives, each with its utterance.

    An utterance has at most one slot: its latest. When it comes again, its old
    slot is emptied, and an empty slot is never drawn. With several targets per
    utterance (two keys, two global views) a slot holds one row per target.

    Arguments
    ---------
    size : int
        Number of slots.
    dim : int
        Dimension of a positive embedding.
    num_targets : int
        Rows per slot.

    Source: the positive queue of SSPS, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561).

    Example
    -------
    >>> queue = PositiveQueue(size=2, dim=1)
    >>> queue.allocate(num_utterances=9)
    >>> _ = queue.enqueue(torch.tensor([7, 3]), torch.tensor([[[1.0], [2.0]]]))
    >>> _ = queue.enqueue(torch.tensor([5]), torch.tensor([[[3.0]]]))
    >>> queue.utterances.tolist()
    [5, 3]
    """

    # One scratch row more than there are slots (or utterances) takes the
    # writes that are not meant to stay, so that -1 never indexes a tensor and
    # no write needs a mask, which would make a GPU wait for the host.
    _rows: Tensor
    _utterance_of_slot: Tensor
    _slot_of_utterance: Tensor
    cursor: Tensor

    def __init__(self, size: int, dim: int, num_targets: int = 1) -> None:
        super().__init__()
        self.size = size
        rows = torch.zeros(num_targets, size + 1, dim)
        self.register_buffer("_rows", rows)
        self.register_buffer("cursor", torch.zeros((), dtype=torch.long))
        no_slot = torch.full((size + 1,), -1, dtype=torch.long)
        self.register_buffer("_utterance_of_slot", no_slot)
        # int32: strategies look up thousands of them in every step.
        no_utterance = torch.full((1,), -1, dtype=torch.int32)
        self.register_buffer("_slot_of_utterance", no_utterance)

    @property
    def positives(self) -> Tensor:
        """Positives, `(num_targets, size, dim)`; where empty, meaningless."""
        return self._rows[:, : self.size]

    @property
    def utterances(self) -> Tensor:
        """Utterance of every slot, `(size,)` int64, -1 where empty."""
        return self._utterance_of_slot[: self.size]

    @property
    def slots(self) -> Tensor:
        """Slot of every utterance, `(num_utterances,)` int32, -1: none."""
        return self._slot_of_utterance[:-1]

    def utterances_in(self, slots: Tensor) -> Tensor:
        """Utterance of each of the slots, `(batch,)` int64, -1 for slot -1."""
        # -1 modulo the number of rows is the last one, the scratch row.
        return self._utterance_of_slot.index_select(0, slots % (self.size + 1))

    def allocate(self, num_utterances: int) -> None:
        """Empty the queue and prepare it for `num_utterances` utterances."""
        self._rows.zero_()
        self.cursor.zero_()
        self._utterance_of_slot.fill_(-1)
        self._slot_of_utterance = self._slot_of_utterance.new_full(
            (num_utterances + 1,), -1
        )

    def enqueue(
        self,
        index: Tensor,
        positives: Tensor,
        valid: Tensor | None = None,
        repeats: Repeats | None = None,
    ) -> Tensor:
        """Append positives, the oldest slots leave.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the utterances, at most `size` of them. Where one
            repeats, its last row wins and it takes one slot.
        positives : torch.Tensor
            `(num_targets, batch, dim)`, any float dtype, no gradient.
        valid : torch.Tensor, optional
            `(batch,)` bool. A row that is not valid takes a slot but leaves it
            empty, so the queue advances alike whatever the rows hold.
        repeats : Repeats, optional
            `resolve_repeats(index)` where the caller has it already.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, the slot that each row took; `size`, which is no
            slot, for a row that a later one of its utterance replaces.
        """
        repeats = repeats or resolve_repeats(index)
        is_last = repeats.is_last
        slots = (self.cursor + repeats.place) % self.size
        slots = torch.where(is_last, slots, self.size)
        utterance_of_slot = self._utterance_of_slot
        slot_of_utterance = self._slot_of_utterance
        no_utterance = len(slot_of_utterance) - 1
        # Forget what lay in these slots, and the old slots of the utterances.
        # -1 modulo the number of rows is the last one, the scratch row.
        evicted = utterance_of_slot.index_select(0, slots) % (no_utterance + 1)
        slot_of_utterance.index_fill_(0, evicted, -1)
        old_slots = slot_of_utterance.index_select(0, index) % (self.size + 1)
        utterance_of_slot.index_fill_(0, old_slots.long(), -1)
        self._rows.index_copy_(1, slots, positives.to(self._rows.dtype))
        holds = is_last if valid is None else is_last & valid
        utterance_of_slot.index_copy_(0, slots, torch.where(holds, index, -1))
        row = torch.where(is_last, index, no_utterance)
        held = torch.where(holds, slots, -1)
        slot_of_utterance.index_copy_(0, row, held.int())
        self.cursor.add_(repeats.num_distinct).remainder_(self.size)
        return slots

    def num_filled(self) -> Tensor:
        """Count the slots that hold a positive, a 0-d int64 tensor."""
        return (self.utterances >= 0).sum()
