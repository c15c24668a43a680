"""The centroid variant: which centroid, and where it makes sense."""

import pytest
import torch

from ssps_plugin import CentroidSampling, PositiveSampler
from ssps_plugin.memory import PositiveQueue

NUM = 30


def prepared(memories, strategy):
    memories.queue = PositiveQueue(NUM, 6)  # positives are like references
    memories.queue.allocate(NUM)
    return memories.prepare(strategy)


def test_without_neighbors_it_is_the_centroid_of_the_own_cluster(
    make_memories,
):
    memories = make_memories(NUM, [])
    strategy = prepared(memories, CentroidSampling(5, 0))
    rows = strategy.select(memories.anchors(), memories.queue)
    similarity = memories.references.double() @ strategy.centroids.double().T
    assert torch.equal(rows, similarity.argmax(1))


def test_with_neighbors_it_is_one_of_the_nearest_other_centroids(
    make_memories,
):
    memories = make_memories(NUM, [])
    strategy = prepared(memories, CentroidSampling(5, 2))
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


def test_an_empty_queue_covers_all_that_were_clustered(make_memories):
    memories = make_memories(NUM, [])
    memories.bank.allocate(NUM)
    memories.bank.write(torch.arange(20), memories.references[:20])
    strategy = prepared(memories, CentroidSampling(4, 1))
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


def test_a_centroid_stands_for_every_target(make_memories):
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
    with pytest.raises(ValueError, match="Use ClusteringSampling"):
        PositiveSampler(CentroidSampling(2, 0), 4, 6, 5, start_epoch=2)


def test_whitened_centroids_are_an_error():
    strategy = CentroidSampling(2, 0, whitening=0.5)
    with pytest.raises(ValueError, match="needs whitening: 0.0"):
        PositiveSampler(strategy, 4, 6, 6, start_epoch=2)
