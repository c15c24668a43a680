"""The positive queue: the latest positive embeddings, first in, first out."""

import torch
from torch import Tensor, nn

from ssps_plugin.memory.rows import Repeats, resolve_repeats


class PositiveQueue(nn.Module):
    """Keep the latest positives in a FIFO queue, each with its utterance.

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
        Number of rows per slot.

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

    # There is one scratch row more than there are slots (or utterances). It
    # takes the writes that must not stay: a mask would make a GPU wait for the
    # host. It is the last row, so -1 modulo the number of rows is its index.
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
        no_utterance = torch.full((size + 1,), -1, dtype=torch.long)
        self.register_buffer("_utterance_of_slot", no_utterance)
        # int32, because strategies look up thousands of them in every step.
        no_slot = torch.full((1,), -1, dtype=torch.int32)
        self.register_buffer("_slot_of_utterance", no_slot)

    @property
    def positives(self) -> Tensor:
        """Positives, `(num_targets, size, dim)`; undefined in empty slots."""
        return self._rows[:, : self.size]

    @property
    def utterances(self) -> Tensor:
        """Utterance of every slot, `(size,)` int64, -1 where empty."""
        return self._utterance_of_slot[: self.size]

    @property
    def slots(self) -> Tensor:
        """Slot of every utterance, `(num_utterances,)` int32, -1 for none."""
        return self._slot_of_utterance[:-1]

    def utterances_in(self, slots: Tensor) -> Tensor:
        """Return the utterance of each of the slots.

        Arguments
        ---------
        slots : torch.Tensor
            `(batch,)` int64, -1 for no slot.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, -1 where the slot is empty or -1.
        """
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
        """Write positives over the oldest slots.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the utterances, at most `size` of them. Where one
            comes several times, its last row wins and it takes one slot.
        positives : torch.Tensor
            `(num_targets, batch, dim)`, any float dtype, without gradient.
        valid : torch.Tensor, optional
            `(batch,)` bool, by default all rows. A row that is not valid takes
            a slot but leaves it empty, so the queue advances by as many slots
            whatever the rows hold.
        repeats : Repeats, optional
            `resolve_repeats(index)`, if the caller has it already.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, the slot that each row took; `size`, which is no
            slot, for a row that a later row of its utterance replaces.
        """
        repeats = repeats or resolve_repeats(index)
        is_last = repeats.is_last
        holds = is_last if valid is None else is_last & valid
        slots = (self.cursor + repeats.place) % self.size
        slots = torch.where(is_last, slots, self.size)
        utterance_of_slot = self._utterance_of_slot
        slot_of_utterance = self._slot_of_utterance
        num_rows = len(slot_of_utterance)
        # Forget what was in these slots, and the old slots of the utterances.
        evicted = utterance_of_slot.index_select(0, slots) % num_rows
        slot_of_utterance.index_fill_(0, evicted, -1)
        old_slots = slot_of_utterance.index_select(0, index) % (self.size + 1)
        utterance_of_slot.index_fill_(0, old_slots.long(), -1)
        self._rows.index_copy_(1, slots, positives.to(self._rows.dtype))
        utterance_of_slot.index_copy_(0, slots, torch.where(holds, index, -1))
        row = torch.where(is_last, index, num_rows - 1)
        held = torch.where(holds, slots, -1)
        slot_of_utterance.index_copy_(0, row, held.int())
        self.cursor.add_(repeats.num_distinct).remainder_(self.size)
        return slots

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {
            "cursor": (0, self.size),
            "_utterance_of_slot": (-1, len(self.slots)),
            "_slot_of_utterance": (-1, self.size),
        }

    def num_filled(self) -> Tensor:
        """Count the slots that hold a positive, as a 0-d int64 tensor."""
        return (self.utterances >= 0).sum()
