"""Schedules over the epochs of SSPS, and clusters that widen by them."""

import copy
import math

import numpy as np
import pytest
import torch

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    GeometricSchedule,
    LinearSchedule,
    PositiveSampler,
)
from ssps_plugin.sampling import make_schedule
from tests.test_positive_sampler import IDS, NUM, numbered, references

WIDENING = {
    "num_clusters": [6, 2],
    "num_neighbors": 1,
    "schedule_epochs": 3,
    "own_cluster_below": 3,
}
SIZES = [(6, 1), (3, 1), (2, 0), (2, 0)]  # 6 · (2/6)^½ = 3.46
STRATEGIES = {
    "clustering": lambda **options: ClusteringSampling(**WIDENING, **options),
    "consensus": lambda **options: ConsensusSampling(
        **WIDENING, num_clusterings=3, **options
    ),
}


def sampler_of(name, way="queue"):
    sampler = PositiveSampler(
        STRATEGIES[name](), NUM, 4, 1, start_epoch=2, pseudo_positives=way
    )
    sampler.bind(IDS)
    return sampler


def take_steps(sampler, epoch):
    """Draws of an epoch in which every utterance comes."""
    sampler.begin_epoch(epoch)
    sampler(IDS, references(seed=epoch), numbered()[0])
    return sampler.last_draw[1].tolist()


def test_linear_goes_by_equal_differences_and_geometric_by_equal_ratios():
    linear = LinearSchedule(10, 4, num_epochs=4)
    assert [linear(epoch) for epoch in (-1, 0, 1, 2, 3, 9)] == [
        *(10, 10, 8, 6, 4, 4)
    ]
    geometric = GeometricSchedule(600, 120, num_epochs=10)
    for epoch in range(10):
        expected = 600 * math.exp(math.log(120 / 600) * epoch / 9)
        assert geometric(epoch) == pytest.approx(expected)
    assert geometric(9) == geometric(50) == 120
    assert LinearSchedule(3, 5, num_epochs=1).values() == [5]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("way", ["queue", "read"])
def test_each_epoch_has_the_clusters_and_neighbours_of_its_number(
    strategy, way
):
    sampler = sampler_of(strategy, way)
    take_steps(sampler, 1)
    for epoch, (num_clusters, num_neighbors) in enumerate(SIZES, start=2):
        drawn = take_steps(sampler, epoch)
        clusters = sampler.clusters()
        assert int(clusters.max()) == num_clusters - 1
        metrics = sampler.metrics()
        assert metrics["num_clusters"] == num_clusters
        assert metrics["num_neighbors"] == num_neighbors
        if strategy == "clustering":
            for anchor, other in enumerate(drawn):
                own = clusters[anchor] == clusters[other]
                assert other == -1 or own == (num_neighbors == 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_epoch_clusters_as_a_strategy_of_that_number_alone(strategy):
    sampler = sampler_of(strategy)
    take_steps(sampler, 1)
    take_steps(sampler, 2)
    found = take_steps(sampler, 3)
    options = {"num_clusterings": 3} if strategy == "consensus" else {}
    kind = type(sampler.strategy)
    alone = PositiveSampler(kind(3, 1, **options), NUM, 4, 1, start_epoch=2)
    alone.bind(IDS)
    for epoch in (1, 2):
        take_steps(alone, epoch)
    assert take_steps(alone, 3) == found
    assert torch.equal(alone.clusters(), sampler.clusters())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_state_keeps_its_shape_and_a_resume_goes_on(strategy):
    sampler = sampler_of(strategy)
    take_steps(sampler, 1)
    shapes = {k: v.shape for k, v in sampler.state_dict().items()}
    for epoch in (2, 3, 4):
        take_steps(sampler, epoch)
        state = copy.deepcopy(sampler.state_dict())
        assert {k: v.shape for k, v in state.items()} == shapes
        resumed = sampler_of(strategy)
        resumed.load_state_dict(state)
        assert resumed.strategy.num_clusters == SIZES[epoch - 2][0]
        assert resumed.strategy.num_neighbors == SIZES[epoch - 2][1]
        left = copy.deepcopy(sampler)
        for one in (resumed, left):
            one.begin_epoch(epoch)
        assert take_steps(resumed, epoch) == take_steps(left, epoch)
        assert take_steps(resumed, epoch + 1) == take_steps(left, epoch + 1)
        assert resumed.metrics() == left.metrics()


def test_a_number_may_be_a_tensor_or_an_array():
    for one in (torch.tensor(0.5), np.float32(0.5), np.array(0.5)):
        assert make_schedule("coverage", one, None).values() == [0.5]
    for two in (torch.tensor([0.0, 1.0]), np.array([0.0, 1.0])):
        assert make_schedule("coverage", two, 3).values() == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="coverage, got .*: change coverage"):
        make_schedule("coverage", torch.ones(3), 3)


def test_without_a_schedule_nothing_is_added_to_the_state():
    for strategy in (ClusteringSampling(3, 1), ConsensusSampling(3, 1)):
        assert not [name for name in strategy.state_dict() if "present" in name]


def test_a_present_number_out_of_range_is_refused():
    sampler = sampler_of("clustering")
    for epoch in (1, 2):
        take_steps(sampler, epoch)
    state = copy.deepcopy(sampler.state_dict())
    state["strategy.present_clusters"].fill_(7)
    with pytest.raises(RuntimeError, match="present_clusters in .1, 7."):
        sampler_of("clustering").load_state_dict(state)


def test_neighbours_go_from_one_to_the_other():
    strategy = ClusteringSampling(9, [2, 0], schedule_epochs=5)
    found = []
    for epoch in range(6):
        strategy.set_epoch(epoch)
        found.append(strategy.num_neighbors)
    assert found == [2, 2, 1, 0, 0, 0]  # 2, 1.5, 1, 0.5, 0
    assert strategy.neighbors.shape == (9, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": [6, 2]}, "schedule_epochs with num_clusters .6, 2."),
        ({"num_clusters": [6, 2, 1]}, "first, last. or a schedule"),
        ({"num_clusters": "6, 2"}, "num_clusters"),
        ({"num_clusters": [6, 0.5]}, "num_clusters.* whole number, got 0.5"),
        ({"num_clusters": [6, 1], "schedule_epochs": 3}, "in .0, 1., .*got 1"),
        (
            {
                "num_clusters": LinearSchedule(6, 3, 2),
                "reuse_centroids": True,
            },
            "reuse_centroids False where num_clusters changes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClusteringSampling(**{"num_neighbors": 1, **options})


def test_a_schedule_of_wrong_numbers_is_refused():
    with pytest.raises(ValueError, match="above 0 in a geometric"):
        GeometricSchedule(1, 0, 3)
    with pytest.raises(ValueError, match="as first of a schedule, got '1'"):
        LinearSchedule("1", 0, 3)
    with pytest.raises(ValueError, match="num_epochs .* got 0"):
        LinearSchedule(1, 0, 0)
    with pytest.raises(ValueError, match="as coverage, got None"):
        make_schedule("coverage", None, 3)


class Growing(LinearSchedule):
    def __call__(self, epoch):
        return 4 + 3 * epoch


def test_a_schedule_of_ones_own_stands_still_after_its_last_epoch():
    strategy = ClusteringSampling(Growing(4, 7, num_epochs=2), 1)
    sampler = PositiveSampler(strategy, NUM, 4, 1, start_epoch=2)
    sampler.bind(IDS)
    for epoch in range(1, 6):
        take_steps(sampler, epoch)
    assert strategy.num_clusters == strategy.max_clusters == 7


class Unfinished(LinearSchedule):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (LinearSchedule(6, math.nan, 3), "finite numbers .* num_clusters"),
        (LinearSchedule(-5, 5, 3), "at least 1 in every epoch, got -5"),
        (Unfinished(), "change|call super"),
    ],
)
def test_a_schedule_that_is_none_is_refused_by_its_key(schedule, message):
    with pytest.raises(ValueError, match=message):
        ClusteringSampling(schedule, 1)


def test_epochs_of_a_schedule_are_refused_by_their_own_name():
    with pytest.raises(ValueError, match="change schedule_epochs"):
        ClusteringSampling([6, 2], 1, schedule_epochs=2.5)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_state_from_before_ssps_fits_more_epochs(name):
    def made(schedule_epochs):
        kind = type(STRATEGIES[name]())
        strategy = kind(**{**WIDENING, "schedule_epochs": schedule_epochs})
        return PositiveSampler(
            strategy,
            *(NUM, 4, 1),
            start_epoch=2,
            coverage=[0.5, 1.0],
            schedule_epochs=schedule_epochs,
        )

    short, longer = made(-19), made(3)
    for sampler in (short, longer):
        sampler.bind(IDS)
    short.begin_epoch(1)
    longer.load_state_dict(short.state_dict())
    for epoch in (1, 2, 3):
        take_steps(longer, epoch)
    assert longer.strategy.num_clusters == 3
