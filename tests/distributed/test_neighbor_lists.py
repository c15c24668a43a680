"""Neighbour lists searched by two ranks against one that does it all."""

import pytest
import torch
from torch.nn.functional import normalize

from ssps_plugin import (
    ClusteringSampling,
    PositiveSampler,
    SharedNeighborSampling,
    positive_sampler,
)
from ssps_plugin.clustering import nearest_others, spherical_kmeans
from ssps_plugin.sampling.neighbor_lists import NeighborLists

NUM, DIM = 501, 8


def references(epoch):
    generator = torch.Generator().manual_seed(epoch)
    groups = torch.eye(DIM)[torch.arange(NUM) % DIM]
    noise = torch.randn(NUM, DIM, generator=generator)
    return normalize(groups + 0.3 * noise, dim=1)


def rows_searched(rank):
    rows, search = [], spherical_kmeans.top_k

    def spied(values, count):
        rows.append(len(values))
        return search(values, count)

    spherical_kmeans.top_k = spied
    lists = NeighborLists(20)
    lists.allocate(NUM)
    index = torch.arange(NUM - 10)  # the last ten are not seen
    lists.renew(index, references(1)[index])
    of_one_point = nearest_others(torch.eye(2)[:1], 0).shape
    return lists.present.tolist(), sum(rows), of_one_point


def test_a_rank_searches_its_share_and_gets_all_lists(run_ranks):
    expected = NeighborLists(20)
    expected.allocate(NUM)
    index = torch.arange(NUM - 10)
    expected.renew(index, references(1)[index])
    results = run_ranks(rows_searched)
    for present, _, of_one_point in results:
        assert present == expected.present.tolist()
        assert of_one_point == (1, 0)
    # Of 491, and in one of them the one point with nobody beside it.
    assert [rows for _, rows, _ in results] == [246 + 1, 245]


def lists_after_epochs(makes, rank, num_ranks):
    """Buffers and metrics after six epochs, two of them with draws."""
    strategy, options = MAKES[makes]()
    sampler = PositiveSampler(
        strategy, NUM + 1, DIM, 1, start_epoch=5, **options
    )
    sampler.bind(NUM)
    for epoch in range(1, 7):
        sampler.begin_epoch(epoch)
        index = torch.arange(rank, NUM, num_ranks)
        positives = torch.zeros(len(index), 1)
        sampler(index, references(epoch)[index], positives)
    buffers = {
        name: buffer.numpy().tobytes()
        for part in (sampler.strategy, sampler.coverage)
        for name, buffer in part.named_buffers()
    }
    return buffers, sampler.metrics()


MAKES = {
    "shared_neighbors": lambda: (SharedNeighborSampling(), {}),
    "joined": lambda: (SharedNeighborSampling(joined_epochs=2), {}),
    "coverage_auto": lambda: (
        ClusteringSampling(30, 1),
        {"coverage": "auto"},
    ),
}


def all_lists_after_epochs(rank):
    # What the first rank sends at the end is no substitute for agreement.
    positive_sampler.broadcast_buffers = lambda module: None
    return {makes: lists_after_epochs(makes, rank, 2) for makes in MAKES}


def test_ranks_agree_bit_for_bit_and_draw_as_one_process_does(run_ranks):
    first, second = run_ranks(all_lists_after_epochs)
    assert first == second
    for makes in MAKES:
        buffers, metrics = first[makes]
        alone, expected = lists_after_epochs(makes, 0, 1)
        for name in ("lists.present", "lists.former"):
            assert buffers[name] == alone[name], (makes, name)
        assert metrics == pytest.approx(expected)
        assert metrics["coverage"] > 0
        assert 0 < metrics["mutual_neighbors"] < 1
