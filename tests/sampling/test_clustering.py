"""SSPS-Clustering and its centroid variant against their definitions."""

import math

import pytest
import torch

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    ConsensusSampling,
    PositiveSampler,
)
from ssps_plugin.clustering import adjusted_rand_index
from ssps_plugin.memory import PositiveQueue
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
        cluster = strategy.draw_clusters(memories.anchors(epoch=epoch))
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
        # 0's neighbour is 1, but 1's is 3.
        "reciprocal_clusters": 0.0,
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClusteringSampling(8, 2),
        lambda: ConsensusSampling(8, 2, num_clusterings=3),
    ],
    ids=["clustering", "consensus"],
)
def test_clusters_are_compared_with_those_of_the_epoch_before(
    make_memories, make
):
    memories = make_memories(NUM, QUEUED)
    memories.bank._seen[:3] = False
    strategy = memories.prepare(make())
    assert "cluster_agreement" not in strategy.metrics()
    former = strategy.all_clusters().clone()
    memories.bank._seen[:3] = True
    memories.bank._seen[NUM - 2 : NUM] = False
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    seen = slice(3, NUM - 2)  # in both epochs
    expected = adjusted_rand_index(former[seen], strategy.all_clusters()[seen])
    assert strategy.metrics()["cluster_agreement"] == pytest.approx(expected)
    assert expected < 1
    resumed = make()
    resumed.allocate(NUM, 6, memories.queue)
    resumed.load_state_dict(strategy.state_dict())
    assert resumed.metrics() == strategy.metrics()
    # Nothing moved, and the same members to start from.
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    assert strategy.metrics()["cluster_agreement"] == 1.0
    memories.prepare(strategy)  # begins anew
    assert "cluster_agreement" not in strategy.metrics()


def test_a_state_without_the_agreement_is_taken_up(make_memories):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(8, 2))
    strategy.prepare(memories.bank, memories.queue, seed=0, epoch=2)
    state = strategy.state_dict()
    del state["cluster_agreement"]
    strategy.load_state_dict(state)
    assert "cluster_agreement" not in strategy.metrics()
    del state["clusters"]
    with pytest.raises(RuntimeError, match='Missing key.* "clusters"\\.'):
        strategy.load_state_dict(state)


@pytest.mark.parametrize("num_neighbors", [0, 1, 3])
def test_reciprocal_clusters_are_those_of_the_definition(
    make_memories, num_neighbors
):
    memories = make_memories(NUM, QUEUED)
    strategy = memories.prepare(ClusteringSampling(9, num_neighbors))
    if num_neighbors == 0:
        assert "reciprocal_clusters" not in strategy.metrics()
        return
    nearest = [clusters_by_rank(strategy, c)[0] for c in range(9)]
    mutual = [nearest[nearest[c]] == c for c in strategy.clusters.tolist()]
    found = strategy.metrics()["reciprocal_clusters"]
    assert found == pytest.approx(sum(mutual) / NUM)
    assert 0 < found < 1


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
        "_list_anchors",
        ClusterDraws._list_anchors_without_waiting,
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
        again = memories.draw(strategy, **other) == drawn
        assert again.float().mean() < 0.5


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
        ValueError, match=r"num_clusters \(6\) utterances of .*, got 5: lower"
    ):
        memories.prepare(ClusteringSampling(6, 1))


def test_more_clusters_than_seen_utterances_is_an_error(make_memories):
    memories = make_memories(5, range(5))
    memories.bank.allocate(5)
    memories.bank.write(torch.arange(3), memories.references[:3])
    with pytest.raises(
        ValueError, match="utterances seen so far, got 3: lower"
    ):
        memories.prepare(ClusteringSampling(4, 1))


def test_no_clusters_is_an_error():
    with pytest.raises(ValueError, match="num_clusters of at least 1, got 0"):
        ClusteringSampling(0, 0)


@pytest.mark.parametrize("num_neighbors", [-1, 3, 4])
def test_as_many_neighbors_as_clusters_is_an_error(num_neighbors):
    with pytest.raises(ValueError, match="less than num_clusters"):
        ClusteringSampling(3, num_neighbors)


def prepare_centroids(memories, strategy):
    memories.queue = PositiveQueue(NUM, 6)  # positives are like references
    memories.queue.allocate(NUM)
    return memories.prepare(strategy)


def test_without_neighbors_the_centroid_is_that_of_the_own_cluster(
    make_memories,
):
    memories = make_memories(NUM, [])
    strategy = prepare_centroids(memories, CentroidSampling(5, 0))
    rows = strategy.select(memories.anchors(), memories.queue)
    similarity = memories.references.double() @ strategy.centroids.double().T
    assert torch.equal(rows, similarity.argmax(1))


def test_with_neighbors_the_centroid_is_one_of_the_nearest_others(
    make_memories,
):
    memories = make_memories(NUM, [])
    strategy = prepare_centroids(memories, CentroidSampling(5, 2))
    centroids = strategy.centroids.double()
    similarity = centroids @ centroids.T
    similarity.fill_diagonal_(-2)
    nearest = similarity.topk(2).indices[strategy.clusters]
    found = torch.zeros(NUM, 2, dtype=torch.long)
    for epoch in range(400):
        anchors = memories.anchors(epoch=epoch)
        rows = strategy.select(anchors, memories.queue)
        hits = rows[:, None] == nearest
        assert hits.any(1).all()
        found += hits
    assert (found > 140).all()  # half of 400 each, six deviations of 10


def test_centroids_cover_all_that_were_clustered_with_an_empty_queue(
    make_memories,
):
    memories = make_memories(NUM, [])
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(20), memories.references[:20])
    strategy = prepare_centroids(memories, CentroidSampling(4, 1))
    rows = strategy.select(memories.anchors(), memories.queue)
    assert (rows[:20] >= 0).all()
    assert rows[20:].tolist() == [-1] * 10
    drawn = strategy.drawn_utterances(rows, memories.queue)
    assert drawn.tolist() == [-1] * NUM  # a centroid is no utterance


def test_the_sampler_substitutes_the_centroid_itself(make_memories):
    references = make_memories(NUM, []).references
    sampler = PositiveSampler(CentroidSampling(4, 0), NUM, 6, 6, start_epoch=2)
    sampler.bind([str(i) for i in range(NUM)])
    index = torch.arange(NUM)
    sampler.begin_epoch(1)
    sampler(index, references, torch.zeros(NUM, 6))
    sampler.begin_epoch(2)
    positives = sampler(index, references, torch.zeros(NUM, 6))
    nearest = (references @ sampler.strategy.centroids.T).argmax(1)
    assert torch.equal(positives, sampler.strategy.centroids[nearest])
    assert sampler.metrics()["coverage"] == 1.0


def test_a_centroid_is_used_for_every_target(make_memories):
    references = make_memories(NUM, []).references
    sampler = PositiveSampler(
        CentroidSampling(4, 1), NUM, 6, 6, start_epoch=2, num_targets=2
    )
    sampler.bind([str(i) for i in range(NUM)])
    own = torch.zeros(2, NUM, 6)
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        positives = sampler(torch.arange(NUM), references, own)
    clusters = sampler.strategy.neighbors[sampler.clusters(), 0]
    for target in positives:
        assert torch.equal(target, sampler.strategy.centroids[clusters])


def test_spaces_that_do_not_agree_are_an_error():
    with pytest.raises(
        ValueError, match="got 5: change .* use ClusteringSampling"
    ):
        PositiveSampler(CentroidSampling(2, 0), 4, 6, 5, start_epoch=2)


def test_whitened_centroids_are_an_error():
    strategy = CentroidSampling(2, 0, whitening=0.5)
    with pytest.raises(
        ValueError, match="Expected whitening 0.0.* got 0.5: change"
    ):
        PositiveSampler(strategy, 4, 6, 6, start_epoch=2)
