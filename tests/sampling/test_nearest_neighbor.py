"""SSPS-NN against a float64 loop over what is in the queue."""

import math

import pytest
import torch

from ssps_plugin import NearestNeighborSampling

NUM = 40
QUEUED = [u for u in range(NUM) if u % 4 != 2]


def nearest_by_loop(memories, anchor, num, transform=lambda x: x):
    references = transform(memories.references).double()
    others = [u for u in memories.queued if u != anchor]
    others.sort(key=lambda u: -float(references[anchor] @ references[u]))
    return others[:num]


def probabilities_by_loop(memories, num, decay):
    probabilities = torch.zeros(NUM, NUM + 1, dtype=torch.double)
    for anchor in range(NUM):
        ranked = nearest_by_loop(memories, anchor, num)
        weights = [math.exp(-decay * rank) for rank in range(len(ranked))]
        for weight, utterance in zip(weights, ranked, strict=True):
            probabilities[anchor, utterance] = weight / sum(weights)
    return probabilities


@pytest.mark.parametrize("num_neighbors", [1, 3, 6])
@pytest.mark.parametrize("rank_decay", [0.0, 0.4])
def test_draws_are_those_of_the_definition(
    make_memories, check_draws, num_neighbors, rank_decay
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(
        NearestNeighborSampling(num_neighbors, rank_decay=rank_decay)
    )
    expected = probabilities_by_loop(memories, num_neighbors, rank_decay)
    check_draws(memories.counts(strategy, 600), expected)


def test_the_nearest_is_drawn_whatever_the_seed(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(NearestNeighborSampling(1))
    expected = [nearest_by_loop(memories, i, 1)[0] for i in range(NUM)]
    for seed in range(5):
        assert memories.draw(strategy, seed=seed).tolist() == expected


def test_the_nearest_of_whitened_references_is_drawn(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(NearestNeighborSampling(1, whitening=1.0))
    expected = [
        nearest_by_loop(memories, i, 1, strategy.whitening)[0]
        for i in range(NUM)
    ]
    assert memories.draw(strategy).tolist() == expected
    plain = [nearest_by_loop(memories, i, 1)[0] for i in range(NUM)]
    assert expected != plain


@pytest.mark.parametrize("num_neighbors", [1, 5, 100])
def test_never_selects_own_utterance(make_memories, num_neighbors):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(NearestNeighborSampling(num_neighbors))
    for epoch in range(100):
        drawn = memories.draw(strategy, epoch=epoch)
        assert not (drawn == torch.arange(NUM)).any()
        assert (drawn >= 0).all()


def test_more_neighbors_than_the_queue_holds_draws_from_all(make_memories):
    memories = make_memories(NUM, [5, 6, 7])
    strategy = memories.prepare(NearestNeighborSampling(64))
    drawn = {
        u for e in range(60) for u in memories.draw(strategy, epoch=e).tolist()
    }
    assert drawn == {5, 6, 7}


def test_a_queue_of_the_anchor_alone_covers_all_but_it(make_memories):
    memories = make_memories(NUM, [7])
    strategy = memories.prepare(NearestNeighborSampling(3))
    drawn = memories.draw(strategy).tolist()
    assert drawn == [-1 if i == 7 else 7 for i in range(NUM)]


def test_an_empty_queue_covers_nobody(make_memories):
    memories = make_memories(NUM, [7])
    memories.queue.allocate(NUM)
    strategy = memories.prepare(NearestNeighborSampling(3))
    assert memories.draw(strategy).tolist() == [-1] * NUM


def test_negative_similarities_are_still_neighbors(make_memories):
    memories = make_memories(NUM, range(NUM))
    opposite = torch.zeros(NUM, 6)
    opposite[:, 0] = -1.0
    memories.bank.write(torch.arange(NUM), opposite)
    strategy = memories.prepare(NearestNeighborSampling(2))
    memories.references = -opposite
    assert (memories.draw(strategy) >= 0).all()


@pytest.mark.parametrize("whitening", [0.0, 0.5])
def test_a_reference_that_is_not_finite_covers_nobody_else_wrongly(
    make_memories, whitening
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(NearestNeighborSampling(3, whitening))
    drawn = memories.draw(strategy)
    memories.references[[3, 5]] = torch.tensor([[math.nan], [math.inf]])
    again = memories.draw(strategy)
    assert again[[3, 5]].tolist() == [-1, -1]
    others = [i for i in range(NUM) if i not in (3, 5)]
    assert torch.equal(again[others], drawn[others])


def write_a_step(memories, generator):
    """Write nine utterances, some not valid; return their slots and them."""
    index = torch.randint(NUM, (9,), generator=generator)
    references = torch.randn(9, 6, generator=generator)
    references = torch.nn.functional.normalize(references, dim=1)
    valid = torch.rand(9, generator=generator) > 0.2
    memories.bank.write(index, references, valid)
    rows = torch.randn(1, 9, 1, generator=generator)
    slots = memories.queue.enqueue(index, rows, valid)
    return slots, index


@pytest.mark.parametrize("whitening", [0.0, 0.5])
def test_what_a_step_writes_is_searched_as_if_prepared_anew(
    make_memories, whitening
):
    memories = make_memories(NUM, QUEUED, size=31)  # wraps around
    strategy = memories.prepare(NearestNeighborSampling(4, whitening))
    generator = torch.Generator().manual_seed(3)
    for _ in range(30):
        slots, index = write_a_step(memories, generator)
        strategy.on_enqueued(slots, index, memories.bank, memories.queue)
        filled = memories.queue.utterances >= 0
        utterances = memories.queue.utterances[filled]
        expected = strategy.whitening(memories.bank.references[utterances])
        torch.testing.assert_close(strategy.keys[:31][filled], expected)
        hidden = strategy.bias.isinf()
        assert torch.equal(~hidden[:31], filled)
        assert hidden[31:].all()
        drawn = memories.draw(strategy)
        assert torch.isin(drawn, utterances).all()


def test_a_draw_does_not_depend_on_the_batch_it_falls_into(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(NearestNeighborSampling(5))
    together = memories.draw(strategy)
    for anchor in range(NUM):
        alone = memories.draw(strategy, torch.tensor([anchor]))
        assert torch.equal(alone, together[anchor : anchor + 1])


def test_a_draw_does_not_depend_on_the_order_of_the_queue(make_memories):
    one = make_memories(NUM, QUEUED)
    other = make_memories(NUM, QUEUED[::-1])
    drawn = one.draw(one.prepare(NearestNeighborSampling(5)))
    again = other.draw(other.prepare(NearestNeighborSampling(5)))
    assert torch.equal(again, drawn)


def test_another_epoch_draws_differently(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(NearestNeighborSampling(5))
    drawn = memories.draw(strategy, epoch=1)
    assert torch.equal(memories.draw(strategy, epoch=1), drawn)
    assert (memories.draw(strategy, epoch=2) == drawn).float().mean() < 0.5


def test_no_neighbors_is_an_error():
    with pytest.raises(ValueError, match="num_neighbors of at least 1, got 0"):
        NearestNeighborSampling(0)


# Of all lists, or of two of five.
IN_LISTS = {
    "all": {"search": "faiss", "num_lists": 5, "num_probes": 5},
    "two": {"search": "faiss", "num_lists": 5, "num_probes": 2},
}


@pytest.mark.parametrize("num_neighbors", [1, 4])
@pytest.mark.parametrize("whitening", [0.0, 0.5])
@pytest.mark.parametrize("rank_decay", [0.0, 0.4])
def test_a_search_of_all_lists_draws_as_the_exact_one(
    make_memories, num_neighbors, whitening, rank_decay
):
    memories = make_memories(NUM, QUEUED)
    exact, listed = (
        memories.prepare(
            NearestNeighborSampling(
                num_neighbors, whitening, rank_decay, **options
            )
        )
        for options in ({}, IN_LISTS["all"])
    )
    for epoch in range(5):
        drawn = memories.draw(listed, epoch=epoch)
        assert torch.equal(drawn, memories.draw(exact, epoch=epoch))


@pytest.mark.parametrize("lists", IN_LISTS)
def test_lists_follow_what_a_step_writes(make_memories, lists):
    memories = make_memories(NUM, QUEUED, size=31)  # wraps around
    listed = memories.prepare(NearestNeighborSampling(4, **IN_LISTS[lists]))
    exact = memories.prepare(NearestNeighborSampling(4))
    generator = torch.Generator().manual_seed(3)
    for epoch in range(30):
        slots, index = write_a_step(memories, generator)
        for strategy in (listed, exact):
            strategy.on_enqueued(slots, index, memories.bank, memories.queue)
        drawn = memories.draw(listed, epoch=epoch)
        found = drawn >= 0
        assert torch.isin(drawn[found], memories.queue.utterances).all()
        assert not (drawn == torch.arange(NUM)).any()
        if lists == "all":
            assert torch.equal(drawn, memories.draw(exact, epoch=epoch))
    assert found.float().mean() > 0.9


def test_the_recall_of_a_search_in_lists_is_logged_and_of_the_exact_nothing(
    make_memories, caplog
):
    memories = make_memories(NUM, QUEUED)
    strategy = NearestNeighborSampling(3, **IN_LISTS["two"])
    assert strategy.metrics() == {}
    metrics = memories.prepare(strategy).metrics()
    assert metrics["searched_lists"] == pytest.approx(0.4)
    assert 0.3 < metrics["search_recall"] < 1
    assert "with num_probes 2 finds" in caplog.text
    assert memories.prepare(NearestNeighborSampling(3)).metrics() == {}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"search": "hnsw"}, "search exact or faiss, got 'hnsw'"),
        ({"num_lists": 9}, "search faiss only, got 9 and None with exact"),
        ({"search": "faiss", "num_probes": 0}, "num_probes of at least 1"),
    ],
)
def test_a_search_that_does_not_exist_is_an_error(options, match):
    with pytest.raises(ValueError, match=match):
        NearestNeighborSampling(1, **options)


def test_a_search_by_faiss_on_a_gpu_is_refused_with_what_to_change():
    cuda = torch.device("cuda", 0)
    NearestNeighborSampling(1).check_device(cuda)
    strategy = NearestNeighborSampling(1, search="faiss")
    strategy.check_device(torch.device("cpu"))
    with pytest.raises(ValueError, match="got faiss and cuda:0: change search"):
        strategy.check_device(cuda)
