"""Queue and bank against the list of all writes, whatever was written."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssps_plugin.memory import PositiveQueue, ReferenceBank, resolve_repeats

NUM = 7
SETTINGS = settings(
    max_examples=50, deadline=None, derandomize=True, database=None
)


class Log:
    """All writes in their order, in plain Python; each took one slot.

    The queue holds the last `size` writes, but of an utterance only its
    latest, and only if that was valid. The bank holds the latest valid one.
    """

    def __init__(self, size):
        self.size = size
        self.writes = []
        self.bank = {}

    def write(self, utterances, rows, valid):
        last = {utterance: row for row, utterance in enumerate(utterances)}
        for row, utterance in enumerate(utterances):
            if last[utterance] == row:
                self.writes.append((utterance, rows[row], valid[row]))
                if valid[row]:
                    self.bank[utterance] = rows[row]

    def queue(self):
        latest = {write[0]: place for place, write in enumerate(self.writes)}
        oldest = len(self.writes) - self.size
        return {
            utterance: self.writes[place][1]
            for utterance, place in latest.items()
            if place >= oldest and self.writes[place][2]
        }


def queued(queue):
    """What the queue holds; its two tables agree."""
    found = {}
    for slot, utterance in enumerate(queue.utterances.tolist()):
        if utterance >= 0:
            assert utterance not in found
            assert queue.slots[utterance] == slot
            found[utterance] = queue.positives[:, slot].flatten().tolist()
    assert int((queue.slots >= 0).sum()) == len(found) == queue.num_filled()
    return found


def banked(bank):
    index, references = bank.read_seen()
    return dict(zip(index.tolist(), references.tolist(), strict=True))


@st.composite
def histories(draw):
    """A size, and batches of (utterance, valid); `None` is a resume."""
    size = draw(st.integers(1, 9))
    row = st.tuples(st.integers(0, NUM - 1), st.booleans())
    batch = st.lists(row, min_size=1, max_size=size)
    return size, draw(st.lists(st.none() | batch, max_size=25))


def allocated(size):
    queue, bank = PositiveQueue(size, 1, num_targets=2), ReferenceBank(2)
    queue.allocate(NUM)
    bank.allocate(NUM)
    return queue, bank


@SETTINGS
@given(histories(), st.booleans())
def test_memories_hold_what_the_list_of_all_writes_says(history, shares):
    size, batches = history
    queue, bank = allocated(size)
    log = Log(size)
    count = 0
    for batch in batches:
        if batch is None:
            states = [
                {k: v.clone() for k, v in part.state_dict().items()}
                for part in (queue, bank)
            ]
            queue, bank = allocated(size)
            queue.load_state_dict(states[0])
            bank.load_state_dict(states[1])
            continue
        utterances, valid = (
            list(column) for column in zip(*batch, strict=True)
        )
        rows = [
            [float(count + i), -float(count + i)] for i in range(len(batch))
        ]
        count += len(batch)
        index = torch.tensor(utterances)
        both = torch.tensor(rows)
        # Neither memory may let out what was not valid.
        both[~torch.tensor(valid)] = torch.nan
        options = {"repeats": resolve_repeats(index)} if shares else {}
        bank.write(index, both, torch.tensor(valid), **options)
        slots = queue.enqueue(
            index, both.T[:, :, None], torch.tensor(valid), **options
        )
        log.write(utterances, rows, valid)
        assert queued(queue) == log.queue()
        assert banked(bank) == log.bank
        assert queue.cursor == len(log.writes) % size
        # A row's slot is that of its utterance, unless a later row took it.
        for slot, utterance, holds in zip(
            slots.tolist(), utterances, valid, strict=True
        ):
            if slot < size and holds:
                assert queue.slots[utterance] == slot
