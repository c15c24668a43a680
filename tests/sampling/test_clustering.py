"""SSPS-Clustering against a loop over the definition."""

import math

import pytest
import torch

from ssps_plugin import ClusteringSampling
from ssps_plugin.sampling.cluster_draws import ClusterDraws

NUM = 30
QUEUED = [u for u in range(NUM) if u % 3 != 1]


def clusters_by_rank(strategy, cluster):
    """The clusters to draw from, nearest first, in float64."""
    if strategy.num_neighbors == 0:
        return [cluster]
    centroids = strategy.centroids.double()
    others = [c for c in range(len(centroids)) if c != cluster]
    others.sort(key=lambda c: -float(centroids[cluster] @ centroids[c]))
    return others[: strategy.num_neighbors]


def probabilities_by_loop(memories, strategy):
    """p(utterance j | anchor i); the last column: not covered."""
    num = len(memories.references)
    clusters = strategy.clusters.tolist()
    decay = strategy.rank_decay
    probabilities = torch.zeros(num, num + 1, dtype=torch.double)
    for anchor in range(num):
        ranked = clusters_by_rank(strategy, clusters[anchor])
        total = sum(math.exp(-decay * rank) for rank in range(len(ranked)))
        for rank, cluster in enumerate(ranked):
            weight = math.exp(-decay * rank) / total
            eligible = [
                utterance
                for utterance in memories.queued
                if clusters[utterance] == cluster and utterance != anchor
            ]
            for utterance in eligible:
                probabilities[anchor, utterance] += weight / len(eligible)
            if not eligible:
                probabilities[anchor, -1] += weight
    return probabilities


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
@pytest.mark.parametrize("rank_decay", [0.0, 0.7])
def test_draws_are_those_of_the_definition(
    make_memories, check_draws, num_neighbors, rank_decay
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(
        ClusteringSampling(9, num_neighbors, rank_decay=rank_decay)
    )
    expected = probabilities_by_loop(memories, strategy)
    assert (expected[:, -1] > 0).any()  # some anchors are not covered
    check_draws(memories.counts(strategy, 600), expected)


def test_every_utterance_lies_in_the_cluster_of_its_nearest_centroid(
    make_memories,
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(5, 1))
    similarity = memories.references.double() @ strategy.centroids.double().T
    assert torch.equal(strategy.clusters, similarity.argmax(1))


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
def test_never_selects_own_utterance(make_memories, num_neighbors):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(ClusteringSampling(4, num_neighbors))
    for epoch in range(200):
        drawn = memories.draw(strategy, epoch=epoch)
        assert not (drawn == torch.arange(NUM)).any()


def test_an_anchor_alone_in_its_cluster_is_not_covered_without_neighbors(
    make_memories,
):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(ClusteringSampling(NUM, 0))
    assert memories.draw(strategy).tolist() == [-1] * NUM


def test_only_what_is_in_the_queue_is_drawn(make_memories):
    memories = make_memories(NUM, [3])
    strategy = memories.prepare(ClusteringSampling(3, 2))
    drawn = {
        u for e in range(50) for u in memories.draw(strategy, epoch=e).tolist()
    }
    assert drawn == {-1, 3}


def test_an_utterance_that_left_the_queue_is_not_drawn(make_memories):
    memories = make_memories(NUM, range(NUM), size=NUM)
    strategy = memories.prepare(ClusteringSampling(2, 1))
    gone = torch.tensor([4, 5])
    rows = torch.full((1, 2, 1), math.nan)
    memories.queue.enqueue(gone, rows, torch.tensor([False, False]))
    for epoch in range(100):
        assert not torch.isin(memories.draw(strategy, epoch=epoch), gone).any()


def test_a_batch_of_unseen_utterances_only_is_not_covered(make_memories):
    memories = make_memories(NUM, range(NUM))
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(20), memories.references[:20])
    strategy = memories.prepare(ClusteringSampling(4, 1))
    assert memories.draw(strategy, torch.tensor([25, 21])).tolist() == [-1, -1]


def test_an_utterance_not_yet_seen_is_in_no_cluster_and_not_covered(
    make_memories,
):
    memories = make_memories(NUM, range(NUM))
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(20), memories.references[:20])
    strategy = memories.prepare(ClusteringSampling(4, 1))
    assert strategy.clusters[20:].tolist() == [-1] * 10
    assert strategy.cluster_of(torch.tensor([25, 26])).tolist() == [-1, -1]
    for epoch in range(50):
        drawn = memories.draw(strategy, epoch=epoch)
        assert (drawn[20:] == -1).all()
        assert (drawn < 20).all()


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
def test_empty_clusters_cover_nobody_and_are_no_error(
    make_memories, num_neighbors
):
    memories = make_memories(NUM, range(NUM))
    same = memories.references[:1].expand(NUM, -1).contiguous()
    memories.bank.write(torch.arange(NUM), same)
    strategy = memories.prepare(ClusteringSampling(5, num_neighbors))
    sizes = strategy.clusters.bincount(minlength=5)
    assert strategy.metrics()["empty_clusters"] == (sizes == 0).sum() > 0
    for epoch in range(20):
        cluster = strategy.draw_cluster(memories.anchors(epoch=epoch))
        drawn = memories.draw(strategy, epoch=epoch)
        own = cluster == strategy.clusters
        assert torch.equal(drawn >= 0, sizes[cluster] > own.long())
        found = drawn >= 0
        assert torch.equal(strategy.clusters[drawn[found]], cluster[found])


def test_the_highest_numbered_cluster_may_be_empty(make_memories):
    memories = make_memories(6, range(6))
    strategy = memories.prepare(ClusteringSampling(4, 1))
    state = strategy.state_dict()
    state["clusters"] = torch.tensor([0, 0, 0, 1, 1, 1])
    state["neighbors"] = torch.tensor([[1], [3], [0], [0]])
    strategy.load_state_dict(state)
    for epoch in range(20):
        drawn = memories.draw(strategy, epoch=epoch).tolist()
        assert set(drawn[:3]) <= {3, 4, 5}
        assert drawn[3:] == [-1, -1, -1]
    assert strategy.metrics() == {
        "cluster_size_min": 0.0,
        "cluster_size_median": 0.0,
        "cluster_size_max": 3.0,
        "empty_clusters": 2.0,
    }


def test_a_draw_does_not_depend_on_the_batch_it_falls_into(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(6, 2))
    together = memories.draw(strategy)
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(1))
    assert torch.equal(memories.draw(strategy, order), together[order])
    for anchor in range(NUM):
        alone = memories.draw(strategy, torch.tensor([anchor]))
        assert torch.equal(alone, together[anchor : anchor + 1])
    twice = torch.tensor([4, 4, 7, 4])
    assert torch.equal(memories.draw(strategy, twice), together[twice])


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
@pytest.mark.parametrize("num_clusters", [4, 12, NUM])
def test_lists_of_fixed_length_draw_what_lists_of_members_draw(
    make_memories, monkeypatch, num_neighbors, num_clusters
):
    memories = make_memories(NUM, QUEUED)
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(2, NUM), memories.references[2:])
    num_clusters = min(num_clusters, NUM - 2)
    strategy = memories.prepare(ClusteringSampling(num_clusters, num_neighbors))
    batches = [torch.arange(NUM), torch.tensor([0, 1]), torch.tensor([9, 0, 9])]

    def draws():
        return [
            memories.draw(strategy, batch, epoch=epoch).tolist()
            for batch in batches
            for epoch in range(30)
        ]

    expected = draws()
    # As on a GPU, where nothing may wait for the host.
    monkeypatch.setattr(
        ClusterDraws,
        "_num_places",
        lambda draws, ends: len(ends) * draws._largest + 1,
    )
    assert draws() == expected
    strategy.prepare(memories.bank, memories.queue, seed=5, epoch=9)
    found = draws()
    monkeypatch.undo()
    assert found == draws()


def test_a_draw_does_not_depend_on_the_order_of_the_queue(make_memories):
    one = make_memories(NUM, QUEUED)
    other = make_memories(NUM, QUEUED[::-1])
    strategy = ClusteringSampling(6, 1)
    drawn = one.draw(one.prepare(strategy))
    assert torch.equal(other.draw(strategy), drawn)


def test_another_epoch_and_another_seed_draw_differently(make_memories):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(ClusteringSampling(3, 1))
    drawn = memories.draw(strategy, seed=1, epoch=1)
    assert torch.equal(memories.draw(strategy, seed=1, epoch=1), drawn)
    for other in ({"seed": 2, "epoch": 1}, {"seed": 1, "epoch": 2}):
        share = (memories.draw(strategy, **other) == drawn).float().mean()
        assert share < 0.5


def test_clusters_taken_up_inside_an_epoch_are_drawn_from(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(6, 1), seed=1)
    other = memories.prepare(ClusteringSampling(6, 1), seed=2)
    expected = memories.draw(other, seed=3, epoch=4)
    assert not torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)
    strategy.load_state_dict(other.state_dict())
    assert torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)


def test_clusters_prepared_again_are_drawn_from(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(6, 1), seed=1)
    other = memories.prepare(ClusteringSampling(6, 1), seed=2)
    expected = memories.draw(other, seed=3, epoch=4)
    assert not torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)
    strategy.prepare(memories.bank, memories.queue, seed=2, epoch=1)
    assert torch.equal(memories.draw(strategy, seed=3, epoch=4), expected)


def test_the_same_seed_and_epoch_cluster_alike(make_memories):
    memories = make_memories(NUM, range(NUM))
    first = memories.prepare(ClusteringSampling(6, 1), seed=3, epoch=2)
    second = memories.prepare(ClusteringSampling(6, 1), seed=3, epoch=2)
    assert torch.equal(first.clusters, second.clusters)
    assert torch.equal(first.centroids, second.centroids)


@pytest.mark.parametrize("reuse", [True, False])
def test_the_second_clustering_starts_from_the_last_centroids(
    make_memories, monkeypatch, reuse
):
    memories = make_memories(NUM, range(NUM))
    strategy = ClusteringSampling(4, 1, reuse_centroids=reuse)
    starts, fit = [], strategy.kmeans.fit

    def spy(points, seed, initial_centroids=None, **options):
        start = initial_centroids
        starts.append(None if start is None else start.clone())
        return fit(points, seed=seed, initial_centroids=start, **options)

    monkeypatch.setattr(strategy.kmeans, "fit", spy)
    memories.prepare(strategy)
    centroids = strategy.centroids.clone()
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    assert starts[0] is None
    if reuse:
        assert torch.equal(starts[1], centroids)
    else:
        assert starts[1] is None


def test_whitening_clusters_what_the_whitened_references_are(make_memories):
    memories = make_memories(NUM, range(NUM))
    strategy = memories.prepare(ClusteringSampling(5, 1, whitening=0.5))
    whitened = strategy.whitening(memories.references)
    assert not torch.allclose(whitened, memories.references, atol=0.1)
    similarity = whitened.double() @ strategy.centroids.double().T
    assert torch.equal(strategy.clusters, similarity.argmax(1))


def test_more_clusters_than_utterances_is_an_error(make_memories):
    memories = make_memories(5, range(5))
    with pytest.raises(
        ValueError, match="num_clusters is 6, .* 5 utterances of"
    ):
        memories.prepare(ClusteringSampling(6, 1))


def test_more_clusters_than_seen_utterances_is_an_error(make_memories):
    memories = make_memories(5, range(5))
    memories.bank.allocate(5)
    memories.bank.write(torch.arange(3), memories.references[:3])
    with pytest.raises(ValueError, match="only 3 utterances seen so far"):
        memories.prepare(ClusteringSampling(4, 1))


@pytest.mark.parametrize("num_neighbors", [-1, 3, 4])
def test_as_many_neighbors_as_clusters_is_an_error(num_neighbors):
    with pytest.raises(ValueError, match="less than num_clusters"):
        ClusteringSampling(3, num_neighbors)
