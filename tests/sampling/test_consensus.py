"""Consensus of several clusterings against its definition, by slow loops."""

import math

import pytest
import torch

from ssps_plugin import ClusteringSampling, ConsensusSampling
from ssps_plugin.clustering import adjusted_rand_index
from ssps_plugin.sampling.vote_draws import VoteDraws

NUM = 30
QUEUED = [u for u in range(NUM) if u % 3 != 1]


def consensus(num_clusters=5, num_neighbors=1, **options):
    options = {"num_clusterings": 4, "num_iterations": 2, **options}
    return ConsensusSampling(num_clusters, num_neighbors, **options)


def votes_by_loop(strategy, anchor, candidate):
    """In how many clusterings it lies in a neighbour cluster, or 0."""
    votes, together = 0, False
    for number in range(strategy.num_clusterings):
        labels = strategy.labels[number].tolist()
        own, other = labels[anchor], labels[candidate]
        if own < 0 or other < 0:
            return 0
        together |= own == other
        votes += other in strategy.neighbors[number, own].tolist()
    leaves_out = not strategy.share_cluster and strategy.num_neighbors > 0
    return 0 if leaves_out and together else votes


def probabilities_by_loop(memories, strategy):
    """p(utterance j | anchor i); the last column: not covered."""
    probabilities = torch.zeros(NUM, NUM + 1, dtype=torch.double)
    for anchor in range(NUM):
        votes = {
            other: votes_by_loop(strategy, anchor, other)
            for other in memories.queued
            if other != anchor
        }
        most = max(votes.values(), default=0)
        for other, num in votes.items():
            weight = float(num == most > 0)
            if math.isfinite(strategy.vote_power):
                weight = num**strategy.vote_power if num else 0.0
            probabilities[anchor, other] = weight
    probabilities[:, -1] = (probabilities.sum(1) == 0).double()
    return probabilities / probabilities.sum(1, keepdim=True)


@pytest.mark.parametrize("vote_power", [math.inf, 0.0, 0.5, 1.0, 300.0])
@pytest.mark.parametrize("num_neighbors", [0, 1, 2])
@pytest.mark.parametrize("share_cluster", [True, False])
def test_draws_are_those_of_the_definition(
    make_memories, num_neighbors, vote_power, share_cluster
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(
        consensus(
            7,
            num_neighbors,
            vote_power=vote_power,
            share_cluster=share_cluster,
        )
    )
    draws = VoteDraws(
        strategy.labels, strategy.neighbors, vote_power, draws_all(strategy)
    )
    # Every uniform number there is, so to say.
    index = torch.arange(NUM).repeat_interleave(1000)
    uniform = ((torch.arange(1000) + 0.5) / 1000).double().repeat(NUM)
    drawn, votes = draws.select(index, uniform, memories.queue.slots)
    counts = torch.zeros(NUM, NUM + 1, dtype=torch.double)
    counts.index_put_((index, drawn), torch.tensor(1e-3).double(), True)
    expected = probabilities_by_loop(memories, strategy)
    torch.testing.assert_close(counts, expected, atol=1.1e-3, rtol=0)
    for place in range(0, len(index), 617):
        pair = int(index[place]), int(drawn[place])
        by_loop = votes_by_loop(strategy, *pair) if pair[1] >= 0 else 0
        assert int(votes[place]) == by_loop


def draws_all(strategy):
    return strategy.share_cluster or strategy.num_neighbors == 0


def test_a_strategy_draws_by_the_number_of_seed_epoch_and_utterance(
    make_memories, check_draws
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(consensus(7, 2, vote_power=0.5))
    expected = probabilities_by_loop(memories, strategy)
    check_draws(memories.counts(strategy, 400), expected)


@pytest.mark.parametrize("num_neighbors", [0, 1])
def test_one_clustering_draws_what_clustering_sampling_draws(
    make_memories, num_neighbors
):
    memories = make_memories(NUM, QUEUED)
    one = memories.prepare(
        consensus(6, num_neighbors, num_clusterings=1, num_iterations=10)
    )
    published = memories.prepare(ClusteringSampling(6, num_neighbors))
    assert torch.equal(one.cluster_of(torch.arange(NUM)), published.clusters)
    for epoch in range(50):
        drawn = memories.draw(published, epoch=epoch)
        assert torch.equal(memories.draw(one, epoch=epoch), drawn)
    partners = one.select_partners(memories.anchors(), memories.bank)
    expected = published.select_partners(memories.anchors(), memories.bank)
    assert torch.equal(partners, expected)


def test_every_clustering_starts_from_other_members(make_memories):
    memories = make_memories(NUM, [])
    strategy = memories.prepare(consensus(6))
    rows = {tuple(row) for row in strategy.labels.tolist()}
    assert len(rows) == strategy.num_clusterings
    later = memories.prepare(consensus(6), epoch=2)
    assert not rows & {tuple(row) for row in later.labels.tolist()}


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
def test_never_selects_own_utterance(make_memories, num_neighbors):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(consensus(4, num_neighbors, vote_power=1.0))
    own = torch.arange(NUM)
    for epoch in range(100):
        assert not (memories.draw(strategy, epoch=epoch) == own).any()
        anchors = memories.anchors(epoch=epoch)
        partners = strategy.select_partners(anchors, memories.bank)
        assert not (partners == own).any()


def test_only_what_is_in_the_queue_is_drawn_and_an_empty_one_covers_nobody(
    make_memories,
):
    memories = make_memories(NUM, [3])
    strategy = memories.prepare(consensus(3, 2))
    drawn = {
        u for e in range(30) for u in memories.draw(strategy, epoch=e).tolist()
    }
    assert drawn == {-1, 3}
    empty = make_memories(NUM, [])
    assert empty.draw(empty.prepare(consensus())).tolist() == [-1] * NUM


def test_an_utterance_not_yet_seen_is_not_covered_and_not_drawn(make_memories):
    memories = make_memories(NUM, range(NUM))
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(20), memories.references[:20])
    strategy = memories.prepare(consensus(4, vote_power=1.0))
    assert strategy.cluster_of(torch.tensor([25])).tolist() == [-1]
    for epoch in range(30):
        drawn = memories.draw(strategy, epoch=epoch)
        assert (drawn[20:] == -1).all()
        assert (drawn < 20).all()
    assert memories.draw(strategy, torch.tensor([25, 21])).tolist() == [-1, -1]
    confidence = strategy.confidence(memories.bank, seed=0, epoch=1)
    assert (confidence[20:] == -math.inf).all()


def test_a_draw_does_not_depend_on_the_batch_it_falls_into(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(consensus(6, vote_power=2.0))
    together = memories.draw(strategy)
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(1))
    assert torch.equal(memories.draw(strategy, order), together[order])
    twice = torch.tensor([4, 4, 7, 4])
    assert torch.equal(memories.draw(strategy, twice), together[twice])


@pytest.mark.parametrize("num_neighbors", [0, 2])
@pytest.mark.parametrize("vote_power", [math.inf, 1.0])
@pytest.mark.parametrize("share_cluster", [True, False])
def test_lists_of_fixed_length_draw_what_lists_of_candidates_draw(
    make_memories, monkeypatch, num_neighbors, vote_power, share_cluster
):
    memories = make_memories(NUM, QUEUED)
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(2, NUM), memories.references[2:])
    strategy = memories.prepare(
        consensus(
            6,
            num_neighbors,
            vote_power=vote_power,
            share_cluster=share_cluster,
        )
    )
    batches = [torch.arange(NUM), torch.tensor([0, 1]), torch.tensor([9, 0, 9])]

    def draws():
        return [
            memories.draw(strategy, batch, epoch=epoch).tolist()
            for batch in batches
            for epoch in range(20)
        ] + [strategy.confidence(memories.bank, 0, 1).tolist()]

    expected = draws()
    # As on a GPU, where nothing may wait for the host.
    monkeypatch.setattr(
        VoteDraws, "_list_places", VoteDraws._list_places_without_waiting
    )
    monkeypatch.setattr(VoteDraws, "_count", VoteDraws._count_without_waiting)
    assert draws() == expected


def test_all_utterances_by_parts_draw_what_they_draw_at_once(
    make_memories, monkeypatch
):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(consensus(vote_power=1.0))
    at_once = strategy.select_partners(memories.anchors(), memories.bank)
    monkeypatch.setattr("ssps_plugin.sampling.vote_draws._MOST_PLACES", 50)
    draws = VoteDraws(strategy.labels, strategy.neighbors, 1.0)
    assert len(draws.split(torch.arange(NUM))) > 2
    by_parts = strategy.select_partners(memories.anchors(), memories.bank)
    assert torch.equal(by_parts, at_once)


def test_confidence_is_the_votes_of_the_most_voted_then_their_cosine(
    make_memories,
):
    memories = make_memories(NUM, [])
    strategy = memories.prepare(consensus(7, whitening=0.5))
    confidence = strategy.confidence(memories.bank, seed=0, epoch=1)
    most = torch.tensor(
        [
            max(votes_by_loop(strategy, i, j) for j in range(NUM) if j != i)
            for i in range(NUM)
        ]
    )
    assert torch.equal((confidence * 4 + 1e-4).floor().long(), most)
    assert len(most.unique()) > 1
    strategy.vote_power = 1.0  # does not matter
    again = strategy.confidence(memories.bank, seed=0, epoch=1)
    assert torch.equal(again, confidence)


def test_the_votes_that_are_logged_are_those_of_what_was_drawn(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(consensus(6, vote_power=1.0))
    assert "votes" not in strategy.metrics()
    total = num = 0
    for epoch in (1, 2):
        drawn = memories.draw(strategy, epoch=epoch)
        strategy.on_drawn(torch.arange(NUM), drawn)
        for anchor, other in enumerate(drawn.tolist()):
            if other >= 0:
                total += votes_by_loop(strategy, anchor, other)
                num += 1
    assert strategy.metrics()["votes"] == pytest.approx(total / num / 4)
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    assert "votes" not in strategy.metrics()


@pytest.mark.parametrize("num_neighbors", [0, 2])
def test_signs_are_means_over_the_clusterings(make_memories, num_neighbors):
    memories = make_memories(NUM, QUEUED)
    memories.bank._seen[4] = False
    strategy = memories.prepare(consensus(6, num_neighbors))
    labels = strategy.labels[:, memories.bank.seen]
    agree = [adjusted_rand_index(labels[i], labels[i + 1]) for i in range(3)]
    metrics = strategy.metrics()
    assert metrics["clusterings_agree"] == pytest.approx(sum(agree) / 3)
    assert 0 < metrics["clusterings_agree"] < 1
    if num_neighbors == 0:
        assert "reciprocal_clusters" not in metrics
        return
    mutual = 0
    for own, neighbors in zip(labels, strategy.neighbors, strict=True):
        nearest = neighbors[:, 0].tolist()
        mutual += sum(nearest[nearest[c]] == c for c in own.tolist())
    expected = mutual / labels.numel()
    assert metrics["reciprocal_clusters"] == pytest.approx(expected)


def test_one_clustering_has_no_other_to_agree_with(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(consensus(6, num_clusterings=1))
    assert "clusterings_agree" not in strategy.metrics()


def test_clusterings_taken_up_inside_an_epoch_are_drawn_from(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(consensus(6), seed=1)
    other = memories.prepare(consensus(6), seed=2)
    expected = memories.draw(other, seed=3, epoch=4)
    assert not torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)
    strategy.load_state_dict(other.state_dict())
    assert torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusterings": 0}, "num_clusterings of at least 1, got 0"),
        ({"vote_power": -1.0}, "vote_power of at least 0, got -1.0: change"),
        ({"vote_power": "most"}, "vote_power of at least 0, got 'most'"),
        ({"num_neighbors": 5}, "num_neighbors in .0, 5., .* got 5: change"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        consensus(**options)


def test_more_clusters_than_seen_utterances_is_an_error(make_memories):
    memories = make_memories(NUM, range(NUM))
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(3), memories.references[:3])
    with pytest.raises(ValueError, match=r"\(5\) utterances seen so far"):
        memories.prepare(consensus(5))
