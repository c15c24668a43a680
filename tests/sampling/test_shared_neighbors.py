"""SharedNeighborSampling against its definition, by slow loops."""

import copy

import pytest
import torch

from ssps_plugin import PositiveSampler, SharedNeighborSampling
from ssps_plugin.sampling import Anchors
from ssps_plugin.sampling.neighbor_lists import NeighborLists

NUM, DIM = 30, 6
QUEUED = [u for u in range(NUM) if u % 3 != 1]


def sharing(num_neighbors=5, min_overlap=0.3, **options):
    return SharedNeighborSampling(num_neighbors, min_overlap, **options)


def prepared(make_memories, strategy):
    """After an epoch of other references, and this one's."""
    memories = make_memories(NUM, QUEUED)
    memories.prepare(strategy)
    noise = torch.Generator().manual_seed(7)
    moved = memories.references + 0.2 * torch.randn(NUM, DIM, generator=noise)
    memories.references = torch.nn.functional.normalize(moved, dim=1)
    memories.bank.write(torch.arange(NUM), memories.references)
    strategy.observe(memories.bank)
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    return memories


def probabilities_by_loop(strategy, utterances):
    """p(utterance j | anchor i) of those given; last column: none."""
    probabilities = torch.zeros(NUM, NUM + 1, dtype=torch.double)
    for anchor in range(NUM):
        others = torch.tensor([u for u in utterances if u != anchor])
        overlap = strategy.lists.overlap(
            torch.full_like(others, anchor), others
        )
        candidates = others[overlap >= strategy.min_overlap]
        probabilities[anchor, candidates] = 1.0
    probabilities[:, -1] = (probabilities.sum(1) == 0).double()
    return probabilities / probabilities.sum(1, keepdim=True)


@pytest.mark.parametrize("min_overlap", [0.1, 0.3, 0.6])
def test_draws_out_of_the_queue_are_uniform_among_candidates(
    make_memories, check_draws, min_overlap
):
    strategy = sharing(min_overlap=min_overlap)
    memories = prepared(make_memories, strategy)
    expected = probabilities_by_loop(strategy, QUEUED)
    assert 0 < expected[:, -1].mean() < 1 or min_overlap == 0.1
    check_draws(memories.counts(strategy, 400), expected)


def test_partners_are_uniform_among_all_candidates(make_memories, check_draws):
    strategy = sharing()
    memories = prepared(make_memories, strategy)
    counts = torch.zeros(NUM, NUM + 1, dtype=torch.long)
    for epoch in range(400):
        anchors = memories.anchors(seed=epoch % 3, epoch=epoch)
        partners = strategy.select_partners(anchors, memories.bank)
        counts[torch.arange(NUM), partners] += 1
    check_draws(counts, probabilities_by_loop(strategy, range(NUM)))


def test_of_many_candidates_the_surest_are_drawn(make_memories):
    strategy = sharing(min_overlap=0.05, max_candidates=2)
    memories = prepared(make_memories, strategy)
    every = torch.arange(NUM)
    for epoch in range(20):
        anchors = memories.anchors(epoch=epoch)
        drawn = strategy.select_partners(anchors, memories.bank)
        overlap = strategy.lists.overlap(every, drawn)
        larger = sum(
            (strategy.lists.overlap(every, (every + n) % NUM) > overlap).int()
            for n in range(1, NUM)
        )
        assert int(larger.max()) < 2


def test_confidence_is_the_largest_overlap(make_memories):
    strategy = sharing()
    memories = prepared(make_memories, strategy)
    confidence = strategy.confidence(memories.bank, seed=0, epoch=2)
    for anchor in range(NUM):
        others = torch.tensor([u for u in range(NUM) if u != anchor])
        overlap = strategy.lists.overlap(
            torch.full_like(others, anchor), others
        ).max()
        expected = overlap if overlap >= 0.3 else torch.tensor(-torch.inf)
        assert torch.equal(confidence[anchor], expected)


def test_a_state_draws_the_same(make_memories):
    strategy = sharing()
    memories = prepared(make_memories, strategy)
    other = sharing()
    memories.prepare(other)  # of one epoch only
    assert (memories.draw(other) == -1).all()
    other.load_state_dict(strategy.state_dict())
    assert torch.equal(memories.draw(other), memories.draw(strategy))
    assert (memories.draw(other) >= 0).any()
    assert other.metrics() == strategy.metrics()


def test_metrics_say_what_the_lists_are(make_memories):
    strategy = sharing()
    memories = make_memories(NUM, QUEUED)
    memories.prepare(strategy)
    assert strategy.metrics() == {}
    memories = prepared(make_memories, strategy)
    expected = probabilities_by_loop(strategy, range(NUM))
    num = (expected[:, :-1] > 0).sum(1)
    metrics = strategy.metrics()
    has_one = (num > 0).double()
    assert metrics["with_candidates"] == pytest.approx(float(has_one.mean()))
    mean = float(num.sum() / has_one.sum())
    assert metrics["candidates"] == pytest.approx(mean)
    assert metrics["kept_neighbors"] == strategy.lists.kept()
    assert 0 < metrics["overlap"] < 1


def sampler(start_epoch, pseudo_positives="queue", **options):
    sampler = PositiveSampler(
        sharing(whitening=0.0, **options),
        queue_size=NUM,
        reference_dim=DIM,
        positive_dim=1,
        start_epoch=start_epoch,
        pseudo_positives=pseudo_positives,
    )
    sampler.bind(NUM)
    return sampler


def moved(references, epoch):
    noise = torch.Generator().manual_seed(epoch)
    noisy = references + 0.1 * torch.randn(NUM, DIM, generator=noise)
    return torch.nn.functional.normalize(noisy, dim=1)


def run_epoch(sampler, references, epoch):
    sampler.begin_epoch(epoch)
    positives = torch.arange(NUM).float()[:, None] + 100
    return sampler(torch.arange(NUM), moved(references, epoch), positives)


def test_two_epochs_before_the_start_are_remembered(make_memories):
    references = make_memories(NUM, []).references
    one = sampler(start_epoch=4)
    assert one.plan.first_fill_epoch == 2
    seen = []
    for epoch in (1, 2, 3, 4):
        run_epoch(one, references, epoch)
        seen.append(bool(one.bank.seen.any()))
        if epoch < 4:
            assert one.metrics().get("coverage", 0.0) == 0.0
    assert seen == [False, True, True, True]
    assert one.metrics()["coverage"] > 0


def test_joined_epochs_compare_the_last_two_with_the_two_before(make_memories):
    references = make_memories(NUM, []).references
    one = sampler(start_epoch=5, joined_epochs=2)
    assert one.plan.first_fill_epoch == 1
    rows = []
    for epoch in range(1, 7):
        run_epoch(one, references, epoch)
        assert (one.metrics().get("coverage", 0.0) > 0) == (epoch >= 5)
        rows.append(moved(references, epoch))
    # In epoch 6: by references of epochs 5 and 4, and of 3 and 2.
    expected = NeighborLists(5)
    expected.allocate(NUM)
    for pair in ((2, 1), (4, 3)):
        halves = torch.cat([rows[epoch].half().float() for epoch in pair], 1)
        joined = torch.nn.functional.normalize(halves, dim=1)
        expected.renew(torch.arange(NUM), joined)
    lists = one.strategy.lists
    assert torch.equal(lists.present, expected.present)
    assert torch.equal(lists.former, expected.former)


def test_joined_epochs_survive_a_resume_inside_an_epoch(make_memories):
    references = make_memories(NUM, []).references
    one = sampler(start_epoch=5, joined_epochs=2)
    for epoch in range(1, 6):
        run_epoch(one, references, epoch)
    other = sampler(start_epoch=5, joined_epochs=2)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for epoch in (5, 6, 7):
        drawn = [run_epoch(each, references, epoch) for each in (one, other)]
        assert torch.equal(*drawn)
        assert one.metrics() == other.metrics()
    state = sampler(start_epoch=5).state_dict()
    with pytest.raises(RuntimeError, match="strategy.joined"):
        other.load_state_dict(state)


@pytest.mark.parametrize("pseudo_positives", ["queue", "read"])
def test_the_first_epoch_after_a_warm_start_substitutes_nothing(
    make_memories, pseudo_positives
):
    references = make_memories(NUM, []).references
    one = sampler(1, pseudo_positives)
    positives = torch.zeros(NUM, 1)
    one.warm_start([(torch.arange(NUM), references, positives)])
    for epoch, covers in ((1, False), (2, True), (3, True)):
        run_epoch(one, references, epoch)
        assert (one.metrics()["coverage"] > 0) == covers


def test_nothing_is_drawn_for_an_utterance_that_was_not_seen(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = sharing()
    strategy.allocate(NUM, DIM, memories.queue)
    memories.bank._seen[:4] = False
    for epoch in (1, 2):
        memories.bank._table[:-1] = moved(memories.references, epoch)
        strategy.observe(memories.bank)
        strategy.prepare(memories.bank, memories.queue, 0, epoch)
    drawn = memories.draw(strategy)
    assert (drawn[:4] == -1).all()
    assert not torch.isin(drawn, torch.arange(4)).any()
    assert (drawn >= 4).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbors": 0}, "num_neighbors"),
        ({"num_neighbors": 2.5}, "num_neighbors"),
        ({"min_overlap": 0}, "min_overlap"),
        ({"min_overlap": 1.5}, "min_overlap"),
        ({"min_overlap": "0.1"}, "min_overlap"),
        ({"max_candidates": 0}, "max_candidates"),
        ({"whitening": 2}, "whitening"),
        ({"joined_epochs": 0}, "joined_epochs of at least 1, got 0"),
        ({"joined_epochs": 1.5}, "joined_epochs"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SharedNeighborSampling(**options)


def test_too_few_utterances_are_refused(make_memories):
    memories = make_memories(NUM, [])
    strategy = sharing(num_neighbors=NUM)
    with pytest.raises(ValueError, match="num_neighbors, got 30 and 30"):
        strategy.allocate(NUM, DIM, memories.queue)
    strategy = sharing(num_neighbors=NUM - 5)
    strategy.allocate(NUM, DIM, memories.queue)
    memories.bank._seen[:10] = False
    with pytest.raises(ValueError, match="seen so far .*got 20 and 25"):
        strategy.prepare(memories.bank, memories.queue, 0, 1)


def test_anchors_of_a_part_draw_what_they_draw_among_all(make_memories):
    strategy = sharing()
    memories = prepared(make_memories, strategy)
    index = torch.tensor([5, 2, 29])
    some = Anchors(index, memories.references[index], 3, 9)
    whole = memories.anchors(seed=3, epoch=9)
    found = strategy.select_partners(some, memories.bank)
    expected = strategy.select_partners(whole, memories.bank)[index]
    assert torch.equal(found, expected)
