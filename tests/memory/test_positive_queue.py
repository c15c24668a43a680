"""The positive queue against hand-computed cases and a plain-Python log."""

import pytest
import torch

from ssps_plugin.memory import PositiveQueue

NAN = float("nan")


def queue_of(size, num_utterances=20, dim=1, num_targets=1):
    queue = PositiveQueue(size, dim, num_targets)
    queue.allocate(num_utterances)
    return queue


def enqueue(queue, index, rows=None, valid=None):
    """One target of one dimension; a row holds its utterance by default."""
    rows = index if rows is None else rows
    positives = torch.tensor(rows, dtype=torch.float32).view(1, -1, 1)
    valid = None if valid is None else torch.tensor(valid)
    return queue.enqueue(torch.tensor(index), positives, valid).tolist()


def held(queue):
    """Utterance -> its rows, one per target, read from slot to utterance."""
    return {
        utterance: queue.positives[:, slot].tolist()
        for slot, utterance in enumerate(queue.utterances.tolist())
        if utterance >= 0
    }


def held_by_slot_of_utterance(queue):
    """The same, read the other way round."""
    return {
        utterance: queue.positives[:, slot].tolist()
        for utterance, slot in enumerate(queue.slots.tolist())
        if slot >= 0
    }


class Log:
    """All that ever came, and from it what the queue must hold."""

    def __init__(self, size):
        self.size = size
        self.time = 0
        self.latest = {}

    def enqueue(self, index, rows, valid):
        last_row = {utterance: row for row, utterance in enumerate(index)}
        for row, utterance in enumerate(index):
            if last_row[utterance] == row:
                self.latest[utterance] = (self.time, rows[row], valid[row])
                self.time += 1

    def held(self):
        return {
            utterance: row
            for utterance, (time, row, valid) in self.latest.items()
            if valid and time >= self.time - self.size
        }


def test_an_empty_queue_holds_nothing():
    queue = queue_of(3)
    assert held(queue) == {}
    assert queue.utterances.tolist() == [-1, -1, -1]
    assert set(queue.slots.tolist()) == {-1}
    assert queue.num_filled() == 0


def test_the_oldest_slots_leave_at_the_wrap_around():
    queue = queue_of(3)
    assert enqueue(queue, [7, 3]) == [0, 1]
    assert enqueue(queue, [5, 9]) == [2, 0]
    assert queue.utterances.tolist() == [9, 3, 5]
    assert queue.positives.flatten().tolist() == [9.0, 3.0, 5.0]
    assert queue.slots[7] == -1
    assert queue.num_filled() == 3


def test_a_batch_as_large_as_the_queue_replaces_all_of_it():
    queue = queue_of(3)
    enqueue(queue, [0])
    enqueue(queue, [4, 5, 6])
    assert held(queue) == {4: [[4.0]], 5: [[5.0]], 6: [[6.0]]}
    enqueue(queue, [6, 5, 4], rows=[60, 50, 40])
    assert held(queue) == {6: [[60.0]], 5: [[50.0]], 4: [[40.0]]}


def test_an_utterance_that_comes_again_keeps_its_latest_slot_only():
    queue = queue_of(4)
    enqueue(queue, [1, 2])
    enqueue(queue, [1], rows=[10])
    assert queue.utterances.tolist() == [-1, 2, 1, -1]
    assert held(queue) == {1: [[10.0]], 2: [[2.0]]}
    assert queue.num_filled() == 2


def test_the_last_row_of_a_repeated_utterance_wins_and_takes_one_slot():
    queue = queue_of(4)
    slots = enqueue(queue, [1, 2, 1], rows=[10, 20, 11])
    assert slots == [4, 0, 1]  # 4 is no slot
    assert held(queue) == {2: [[20.0]], 1: [[11.0]]}
    assert queue.cursor == 2


def test_repeats_may_fill_the_queue_with_more_rows_than_slots_hold():
    queue = queue_of(2)
    enqueue(queue, [8, 9])
    enqueue(queue, [1, 1], rows=[10, 11])
    assert held(queue) == {9: [[9.0]], 1: [[11.0]]}


def test_an_invalid_row_takes_a_slot_and_leaves_it_empty():
    queue = queue_of(3)
    enqueue(queue, [1, 2, 3], rows=[1, NAN, 3], valid=[True, False, True])
    assert queue.utterances.tolist() == [1, -1, 3]
    assert queue.num_filled() == 2


def test_an_utterance_whose_latest_row_is_invalid_has_no_slot():
    queue = queue_of(4)
    enqueue(queue, [7, 3])
    enqueue(queue, [7], rows=[NAN], valid=[False])
    assert queue.slots[7] == -1
    enqueue(queue, [1, 2])  # 2 comes where 7 was
    assert queue.slots[7] == -1
    assert held(queue) == held_by_slot_of_utterance(queue)
    assert held(queue) == {3: [[3.0]], 1: [[1.0]], 2: [[2.0]]}


def test_an_invalid_last_row_is_not_replaced_by_an_earlier_one():
    queue = queue_of(4)
    enqueue(queue, [7, 7], rows=[1, NAN], valid=[True, False])
    assert held(queue) == {}
    assert queue.slots[7] == -1


def test_scratch_rows_are_never_visible():
    queue = queue_of(3, num_utterances=4)
    enqueue(queue, [3, 0, 3], rows=[666, 1, 2])
    enqueue(queue, [1, 1, 1], rows=[666, 666, 3])
    assert 666 not in queue.positives.flatten().tolist()
    assert queue.utterances.tolist() == [0, 3, 1]
    assert queue.slots.tolist() == [0, 2, -1, 1]


def test_the_last_slot_and_utterance_stay_what_they_are():
    # An index of -1 would touch them.
    queue = queue_of(3, num_utterances=4)
    enqueue(queue, [0, 1, 3])
    for _ in range(2):
        enqueue(queue, [0], rows=[0])  # comes again
        enqueue(queue, [2], rows=[NAN], valid=[False])
        enqueue(queue, [3], rows=[33])
    assert held(queue) == {0: [[0.0]], 3: [[33.0]]}


def test_every_target_of_an_utterance_lies_in_its_slot():
    queue = queue_of(3, num_targets=2, dim=2)
    positives = torch.arange(8.0).view(2, 2, 2)
    queue.enqueue(torch.tensor([5, 4]), positives)
    assert held(queue) == {
        5: [[0.0, 1.0], [4.0, 5.0]],
        4: [[2.0, 3.0], [6.0, 7.0]],
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.double])
def test_any_float_dtype_is_kept_in_float32(dtype):
    queue = queue_of(2)
    rows = torch.tensor([[[0.1]]], dtype=dtype)
    queue.enqueue(torch.tensor([0]), rows)
    assert queue.positives.dtype == torch.float32
    assert queue.positives[0, 0, 0] == rows.float().item()


def test_allocate_empties_the_queue():
    queue = queue_of(3)
    enqueue(queue, [1, 2])
    queue.allocate(5)
    assert held(queue) == {}
    assert queue.slots.tolist() == [-1] * 5
    assert enqueue(queue, [4]) == [0]


@pytest.mark.parametrize("size", [1, 2, 5, 16])
@pytest.mark.parametrize("num_utterances", [3, 30])
def test_equals_a_log_over_hundreds_of_steps(size, num_utterances):
    generator = torch.Generator().manual_seed(size)
    queue = queue_of(size, num_utterances, dim=2, num_targets=2)
    log = Log(size)
    for _ in range(300):
        batch = int(torch.randint(1, size + 1, (), generator=generator))
        index = torch.randint(num_utterances, (batch,), generator=generator)
        rows = torch.randn(2, batch, 2, generator=generator)
        valid = torch.rand(batch, generator=generator) > 0.1
        queue.enqueue(index, rows, valid)
        log.enqueue(
            index.tolist(), rows.transpose(0, 1).tolist(), valid.tolist()
        )
        assert held(queue) == log.held()
        assert held_by_slot_of_utterance(queue) == log.held()
        assert queue.num_filled() == len(log.held())
