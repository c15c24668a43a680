"""Epochs without new references: what stays, what goes on, who is drawn."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SharedNeighborSampling,
)

NUM, DIM, BATCH, START = 44, 5, 11, 3
STRATEGIES = {
    "clustering": lambda: ClusteringSampling(8, 1, whitening=0.5),
    "centroids": lambda: CentroidSampling(8, 1),
    "nearest": lambda: NearestNeighborSampling(3, whitening=0.5),
    "shared": lambda: SharedNeighborSampling(10, 0.1),
    "consensus": lambda: ConsensusSampling(8, 1, num_clusterings=3),
    "auto": lambda: ClusteringSampling(8, 1),
}


def sampler_of(name="clustering", num=NUM, **options):
    if name == "auto":
        options["coverage"] = "auto"
    sampler = PositiveSampler(
        STRATEGIES[name](), 30, DIM, DIM, start_epoch=START, **options
    )
    sampler.bind(num)
    return sampler


def references_of(epoch):
    """Those of a moving encoder: near to the epoch's before."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(NUM, DIM, generator=generator)
    generator.manual_seed(epoch)
    moved = first + 0.2 * torch.randn(NUM, DIM, generator=generator)
    return F.normalize(moved, dim=1)


def steps_of(epoch):
    generator = torch.Generator().manual_seed(100 + epoch)
    order = torch.randperm(NUM, generator=generator)
    for index in order.split(BATCH):
        yield index, torch.randn(len(index), DIM, generator=generator)


def train_epoch(sampler, epoch, references, skips=None):
    """Return what is substituted, and what was drawn, step by step."""
    sampler.begin_epoch(epoch)
    found = []
    for index, positives in steps_of(epoch):
        keep = index != (-1 if skips is None else skips)
        index, positives = index[keep], positives[keep]
        reference = None if references is None else references[index]
        found += [sampler(index, reference, positives)]
        found += [sampler.last_draw[1]] if sampler.last_draw else []
    return found


def assert_equal(one, other):
    assert len(one) == len(other)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {2, 3, 4, 5, 6, 7, 8}),
        ({"reference_interval": 2}, {2, 4, 6, 8}),
        ({"reference_interval": 3}, {2, 5, 8}),
        ({"last_reference_epoch": 5}, {2, 3, 4, 5}),
        ({"last_reference_epoch": 2}, {2}),
        ({"reference_interval": 2, "last_reference_epoch": 5}, {2, 4}),
    ],
)
def test_references_are_asked_for_in_these_epochs(options, expected):
    sampler = sampler_of(**options)
    renewed, asked = set(), set()
    for epoch in range(1, 9):
        sampler.begin_epoch(epoch)
        if sampler.renews_references:
            renewed.add(epoch)
        index, positives = next(steps_of(epoch))
        sampler(index, references_of(epoch)[index], positives)
        if sampler.needs_reference:  # after the step that checks
            asked.add(epoch)
    assert asked == renewed == expected
    sampler.eval()
    assert not sampler.renews_references


@pytest.mark.parametrize("name", ["shared", "auto"])
def test_both_lists_are_filled_before_ssps_starts(name):
    sampler, renewed = sampler_of(name, reference_interval=3), []
    for epoch in range(1, 9):
        train_epoch(sampler, epoch, references_of(epoch))
        renewed += [epoch] if sampler.renews_references else []
    assert renewed == [1, 2, 5, 8]


@pytest.mark.parametrize("pseudo_positives", ["queue", "read"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_an_epoch_between_draws_as_one_whose_references_are_the_old_ones(
    name, pseudo_positives
):
    if name == "centroids" and pseudo_positives == "read":
        return  # which is refused
    every = sampler_of(name, pseudo_positives=pseudo_positives)
    some = sampler_of(
        name, pseudo_positives=pseudo_positives, reference_interval=3
    )
    num_drawn = 0
    for epoch in range(1, 9):
        references = references_of({3: 2, 4: 2, 6: 5, 7: 5}.get(epoch, epoch))
        expected = train_epoch(every, epoch, references)
        given = None if epoch in (3, 4, 6, 7) else references
        found = train_epoch(some, epoch, given)
        assert_equal(found, expected)
        num_drawn += sum(int((rows >= 0).sum()) for rows in found[1::2])
        assert every.metrics() == some.metrics()
        # A run that is resumed here goes on alike.
        state = copy.deepcopy(some.state_dict())
        some = sampler_of(
            name, pseudo_positives=pseudo_positives, reference_interval=3
        )
        some.load_state_dict(state)
        some(*_of_first_step(epoch))  # the first one of a process is checked
        some.load_state_dict(state)
    assert num_drawn > NUM or name == "centroids"
    state, expected = some.state_dict(), every.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, equal_nan=True)


def _of_first_step(epoch):
    index, positives = next(steps_of(epoch))
    return index, references_of(epoch)[index], positives


def test_a_reference_that_is_passed_between_is_not_looked_at():
    with_one, without = (sampler_of(reference_interval=2) for _ in range(2))
    for epoch in (2, 3):
        references = references_of(epoch)
        given = references if epoch == 2 else None
        found = train_epoch(with_one, epoch, references)
        assert_equal(found, train_epoch(without, epoch, given))
    assert torch.equal(with_one.bank.references, references_of(2))


@pytest.mark.parametrize("name", STRATEGIES)
def test_who_has_no_reference_draws_nothing_and_is_not_drawn(name):
    sampler, unseen = sampler_of(name, reference_interval=2), 7
    for epoch in (1, 2):
        train_epoch(sampler, epoch, references_of(epoch), skips=unseen)
    for index, positives in steps_of(3):
        sampler.begin_epoch(3)
        substituted = sampler(index, None, positives)
        anchors, drawn = sampler.last_draw
        assert not (drawn == unseen).any()
        own = substituted[anchors == unseen]
        assert torch.equal(own, positives[anchors == unseen])
    assert not sampler.bank.seen[unseen]
    # Its positive waits in the queue for a reference.
    assert sampler.queue.slots[unseen] >= 0
    train_epoch(sampler, 4, references_of(4))
    assert sampler.bank.seen.all()


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"nearest"}))
def test_without_those_of_the_last_epoch_training_is_the_same(name):
    all_epochs = sampler_of(name)
    all_but_last = sampler_of(name, last_reference_epoch=5)
    for epoch in range(1, 7):
        references = references_of(epoch)
        expected = train_epoch(all_epochs, epoch, references)
        given = references if epoch < 6 else None
        assert_equal(train_epoch(all_but_last, epoch, given), expected)
    state, expected = all_but_last.state_dict(), all_epochs.state_dict()
    other = {k for k in state if not torch.equal(state[k], expected[k])}
    assert other == {"bank._table"}


def test_an_epoch_that_draws_by_old_references_says_so(caplog):
    sampler = sampler_of(reference_interval=2)
    with caplog.at_level(logging.INFO):
        for epoch in (2, 3, 4, 5):
            train_epoch(sampler, epoch, references_of(epoch))
    told = [r.message for r in caplog.records if "earlier" in r.message]
    assert len(told) == 1
    assert told[0].startswith("SSPS epoch 4 draws by the references of an")


def test_an_epoch_without_a_step_is_explained(caplog):
    # Of a recipe that calls the sampler where it needs references only.
    sampler = sampler_of(reference_interval=2)
    train_epoch(sampler, 2, references_of(2))
    sampler.begin_epoch(3)
    sampler.end_epoch()
    assert "call it in every step, with reference None" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference_interval": 0}, "reference_interval of at least 1"),
        ({"reference_interval": 1.5}, "reference_interval"),
        ({"last_reference_epoch": 1}, "last_reference_epoch of at least 2"),
        ({"last_reference_epoch": "x"}, "last_reference_epoch"),
    ],
)
def test_a_wrong_interval_or_epoch_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        sampler_of(**options)
