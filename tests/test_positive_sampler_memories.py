"""A sampler's memories: sized by utterances, counted, refused to others."""

import copy

import pytest
import torch

from ssps_plugin import NearestNeighborSampling, PositiveSampler
from ssps_plugin.sampling import effective_rank

NAN = float("nan")


def sampler_of(ids, **options):
    sampler = PositiveSampler(
        NearestNeighborSampling(1),
        **{
            "queue_size": 4,
            "reference_dim": 2,
            "positive_dim": 1,
            "start_epoch": 2,
            **options,
        },
    )
    sampler.bind(ids)
    return sampler


def remember(sampler, index):
    index = torch.tensor(index)
    sampler.bank.write(index, torch.ones(len(index), 2))
    sampler.queue.enqueue(index, torch.ones(1, len(index), 1))


def step(sampler, ids, reference=1.0):
    references = torch.full((len(ids), 2), 1.0)
    references[0] = reference
    return sampler(ids, references, torch.ones(len(ids), 1))


def test_memories_are_sized_by_the_utterances():
    sampler = sampler_of(["a", "b", "c"], reference_dtype="float16")
    assert sampler.bank.references.tolist() == [[0.0, 0.0]] * 3
    assert sampler.bank.references.dtype == torch.float16
    assert sampler.queue.slots.tolist() == [-1, -1, -1]


def test_metrics_are_fractions_of_slots_and_of_utterances():
    sampler = sampler_of(["a", "b", "c", "d", "e"])
    sampler.begin_epoch(1)
    remember(sampler, [3, 1])
    assert sampler.metrics() == {
        "coverage": 0.0,
        "not_remembered": 0.0,
        "queue_fill": 2 / 4,
        "seen": pytest.approx(2 / 5),
        "effective_rank": 0.0,  # both references are the same
    }


def test_the_effective_rank_is_logged_from_the_fill_on_of_what_was_seen():
    sampler = sampler_of(list("abcdefgh"))
    sampler.begin_epoch(1)
    assert sampler.metrics()["effective_rank"] == 0.0
    index, angles = torch.tensor([1, 2, 5]), torch.tensor([0.0, 1.0, 2.5])
    references = torch.stack([angles.cos(), angles.sin()], dim=1)
    sampler.bank.write(index, references)
    found = sampler.metrics()["effective_rank"]
    assert found == pytest.approx(effective_rank(references))
    assert 1 < found < 2


def test_other_utterances_may_be_bound_until_an_epoch_has_begun():
    sampler = sampler_of(["a", "b"])
    sampler.bind(["a", "b", "c"])
    assert len(sampler.bank.seen) == 3
    sampler.begin_epoch(1)
    sampler.bind(("a", "b", "c"))  # the same
    with pytest.raises(RuntimeError, match=r"\(3, now 1\).*reset\(\)"):
        sampler.bind(["a"])


def test_reset_empties_the_memories_and_leaves_the_epoch():
    sampler = sampler_of(["a", "b"])
    sampler.begin_epoch(1)
    remember(sampler, [0])
    sampler.reset()
    assert sampler.epoch is None
    assert not sampler.bank.seen.any()
    assert sampler.queue.num_filled() == 0
    sampler.bind(["a"])
    assert len(sampler.bank.seen) == 1


def test_a_state_is_taken_up_by_the_same_utterances_alone():
    sampler = sampler_of(["a", "b"])
    sampler.begin_epoch(1)
    sampler.epoch = 3
    remember(sampler, [1])
    same, other = sampler_of(["a", "b"]), sampler_of(["b", "a"])
    same.load_state_dict(sampler.state_dict())
    assert same.epoch == 3
    assert same.queue.slots.tolist() == [-1, 0]
    with pytest.raises(RuntimeError, match="another training manifest"):
        other.load_state_dict(sampler.state_dict())
    assert not other.bank.seen.any()


def test_steps_of_unequal_size_are_counted_by_anchor():
    sampler = sampler_of(["a", "b", "c"])
    sampler.begin_epoch(1)
    step(sampler, ["a"])
    sampler.begin_epoch(2)
    step(sampler, ["a", "b", "c"], reference=NAN)
    # a has only itself, and what is NaN is near to nothing.
    step(sampler, ["b"], reference=NAN)
    metrics = sampler.metrics()
    assert (metrics["coverage"], metrics["not_remembered"]) == (2 / 4, 2.0)


def test_an_epoch_without_a_step_has_no_coverage_and_counts_anew():
    sampler = sampler_of(["a", "b", "c"])
    sampler.begin_epoch(1)
    step(sampler, ["a", "b"], reference=NAN)
    assert sampler.metrics()["not_remembered"] == 1.0
    sampler.begin_epoch(2)
    metrics = sampler.metrics()
    assert (metrics["coverage"], metrics["not_remembered"]) == (0.0, 0.0)


def test_every_entry_of_the_state_is_a_tensor():
    sampler = sampler_of(["a", "b"])
    sampler.begin_epoch(1)
    step(sampler, ["a", "b"])
    on_cpu = {k: v.cpu() for k, v in sampler.state_dict().items()}
    assert sum(value.numel() for value in on_cpu.values()) > 0
    resumed = sampler_of(["a", "b"])
    for name, value in resumed.state_dict().items():
        assert value.size() == on_cpu[name].size()
    resumed.load_state_dict(on_cpu)
    assert resumed.epoch == 1
    assert copy.deepcopy(resumed).epoch == 1


def test_a_state_from_before_bind_is_taken_up():
    unbound = PositiveSampler(NearestNeighborSampling(1), 4, 2, 1, 2)
    state = {
        name: value
        for name, value in unbound.state_dict().items()
        if name.startswith("_")
    }
    bound = sampler_of(["a", "b"])
    bound.load_state_dict(state, strict=False)
    assert bound.epoch is None


def test_a_discarded_step_leaves_the_state_as_it_was():
    sampler = sampler_of(["a", "b", "c"])
    sampler.begin_epoch(1)
    step(sampler, ["a", "b"])
    sampler.begin_epoch(2)
    before = {k: v.clone() for k, v in sampler.state_dict().items()}
    arguments = (["c", "a"], torch.eye(2), torch.full((2, 1), 9.0))
    drawn = sampler.substitute(*arguments)
    assert sampler.last_draw is not None
    sampler.discard()
    sampler.remember()  # nothing is left to remember
    after = sampler.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert sampler.last_draw is None
    assert torch.equal(sampler(*arguments), drawn)
    assert sampler.bank.seen.all()
