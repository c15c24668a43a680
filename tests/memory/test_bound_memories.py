"""Memories bound to utterances: sized by them, refused to others."""

import pytest
import torch

from ssps_plugin.memory import BoundMemories


def memories_of(ids, **options):
    settings = {
        "queue_size": 4,
        "reference_dim": 2,
        "positive_dim": 1,
        "num_targets": 1,
        "reference_dtype": "float32",
    }
    memories = BoundMemories(**{**settings, **options})
    memories.bind(ids)
    return memories


def remember(memories, index):
    index = torch.tensor(index)
    memories.bank.write(index, torch.ones(len(index), 2))
    memories.queue.enqueue(index, torch.ones(1, len(index), 1))


def test_memories_are_sized_by_the_utterances():
    memories = memories_of(["a", "b", "c"], reference_dtype="float16")
    assert memories.bank.references.tolist() == [[0.0, 0.0]] * 3
    assert memories.bank.references.dtype == torch.float16
    assert memories.queue.slots.tolist() == [-1, -1, -1]


def test_figures_are_shares_of_slots_and_of_utterances():
    memories = memories_of(["a", "b", "c", "d", "e"])
    remember(memories, [3, 1])
    memories.counts.add(torch.tensor([True, False]), None)
    assert memories.figures() == {
        "coverage": 0.5,
        "not_remembered": 0.0,
        "queue_fill": 2 / 4,
        "seen": pytest.approx(2 / 5),
    }


def test_other_utterances_may_be_bound_until_an_epoch_has_begun():
    memories = memories_of(["a", "b"])
    memories.bind(["a", "b", "c"])
    assert len(memories.bank.seen) == 3
    memories.epoch = 1
    memories.bind(("a", "b", "c"))  # the same
    with pytest.raises(RuntimeError, match=r"\(3, now 1\).*reset\(\)"):
        memories.bind(["a"])


def test_reset_empties_the_memories_and_leaves_the_epoch():
    memories = memories_of(["a", "b"])
    memories.epoch = 1
    remember(memories, [0])
    memories.reset()
    assert memories.epoch is None
    assert not memories.bank.seen.any()
    assert memories.queue.num_filled() == 0
    memories.bind(["a"])
    assert len(memories.bank.seen) == 1


def test_a_state_is_taken_up_by_the_same_utterances_alone():
    memories = memories_of(["a", "b"])
    memories.epoch = 3
    remember(memories, [1])
    same, other = memories_of(["a", "b"]), memories_of(["b", "a"])
    same.load_state_dict(memories.state_dict())
    assert same.epoch == 3
    assert same.queue.slots.tolist() == [-1, 0]
    with pytest.raises(RuntimeError, match="another training manifest"):
        other.load_state_dict(memories.state_dict())
    assert not other.bank.seen.any()
