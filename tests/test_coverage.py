"""PositiveSampler that covers only the anchors it is surest of."""

import copy
import logging
import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    LinearSchedule,
    NearestNeighborSampling,
)
from ssps_plugin.sampling import SamplingStrategy
from tests.test_positive_sampler import (
    IDS,
    NUM,
    filled,
    numbered,
    references,
    sampler_of,
)

STRATEGIES = {
    "clustering": lambda: ClusteringSampling(3, 1, whitening=0.5),
    "own cluster": lambda: ClusteringSampling(3, 0),
    "nearest": lambda: NearestNeighborSampling(2, whitening=1.0),
    "consensus": lambda: ConsensusSampling(3, 1, num_clusterings=4),
}
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
WAYS = ("queue", "read")


def covering(strategy, coverage, **options):
    return sampler_of(STRATEGIES[strategy](), coverage=coverage, **options)


def drawn_by(sampler):
    """The utterances drawn by all anchors in one step."""
    sampler(IDS, references(), numbered()[0])
    return sampler.last_draw[1]


@every_strategy
def test_coverage_0_returns_the_positives_themselves_and_no_partner(strategy):
    sampler = filled(covering(strategy, 0.0))
    positives = numbered()[0].requires_grad_()
    assert sampler(IDS, references(), positives) is positives
    assert sampler.metrics()["coverage"] == 0
    reading = filled(covering(strategy, 0.0, pseudo_positives="read"))
    assert bool((reading.partners == -1).all())


@every_strategy
@pytest.mark.parametrize("way", WAYS)
def test_coverage_1_is_what_is_there_without_it(strategy, way):
    sampler = filled(covering(strategy, 1.0, pseudo_positives=way))
    plain = filled(sampler_of(STRATEGIES[strategy](), pseudo_positives=way))
    assert torch.equal(drawn_by(sampler), drawn_by(plain))
    state, expected = sampler.state_dict(), plain.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    assert sampler.metrics() == plain.metrics()
    assert "confident" not in plain.metrics()


@every_strategy
@pytest.mark.parametrize("way", WAYS)
def test_the_surest_draw_what_all_would_and_the_others_nothing(strategy, way):
    part = filled(covering(strategy, 0.5, pseudo_positives=way))
    whole = filled(covering(strategy, 1.0, pseudo_positives=way))
    confidence = part.strategy.confidence(part.bank, part.seed, 2).tolist()
    surest = sorted(range(NUM), key=lambda u: -confidence[u])[: round(NUM / 2)]
    expected = [
        drawn if utterance in surest else -1
        for utterance, drawn in enumerate(drawn_by(whole).tolist())
    ]
    assert drawn_by(part).tolist() == expected
    assert part.metrics()["confident"] == 0.5


def test_confidence_of_nearest_neighbours_is_the_cosine_to_the_nearest():
    sampler = filled(covering("nearest", 0.5))
    rows = sampler.strategy.whitening(references()).double()
    cosines = rows @ rows.T
    cosines.fill_diagonal_(-2)
    confidence = sampler.strategy.confidence(sampler.bank, 0, 2)
    torch.testing.assert_close(
        confidence.double(), cosines.amax(1), atol=1e-5, rtol=0
    )


def test_confidence_of_clusters_is_the_cosine_to_the_neighbours_centroid():
    for name in ("clustering", "own cluster"):
        sampler = filled(covering(name, 0.5))
        strategy = sampler.strategy
        rows = strategy.whitening(references())
        near = strategy.neighbors[strategy.clusters, 0]
        expected = F.cosine_similarity(rows, strategy.centroids[near])
        confidence = strategy.confidence(sampler.bank, 0, 2)
        torch.testing.assert_close(confidence, expected, atol=1e-5, rtol=0)


@every_strategy
def test_an_utterance_that_was_not_seen_is_never_sure(strategy):
    sampler = covering(strategy, 0.9)
    sampler.begin_epoch(1)
    sampler(IDS[:5], references()[:5], numbered()[0, :5])
    sampler.begin_epoch(2)
    confidence = sampler.strategy.confidence(sampler.bank, 0, 2)
    assert bool((confidence[5:] == -math.inf).all())
    assert bool((drawn_by(sampler)[5:] == -1).all())


@pytest.mark.parametrize(
    "coverage", [{"coverage": [0.0, 1.0], "schedule_epochs": 3}, None]
)
def test_coverage_follows_its_schedule_from_the_start_epoch_on(coverage):
    coverage = coverage or {"coverage": LinearSchedule(0.0, 1.0, 3)}
    sampler = sampler_of(NearestNeighborSampling(1), start_epoch=3, **coverage)
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        sampler(IDS, references(), numbered()[0])
        assert "confident" not in sampler.metrics()
    for epoch, asked in ((3, 0.0), (4, 0.5), (5, 1.0), (6, 1.0)):
        sampler.begin_epoch(epoch)
        drawn = drawn_by(sampler)
        assert sampler.metrics()["confident"] == asked
        assert int((drawn >= 0).sum()) == round(asked * NUM)


@every_strategy
@pytest.mark.parametrize("way", WAYS)
def test_a_resume_inside_an_epoch_is_as_sure(strategy, way):
    options = {"coverage": [0.4, 0.8], "schedule_epochs": 2}
    options["pseudo_positives"] = way
    sampler = filled(sampler_of(STRATEGIES[strategy](), **options))
    sampler(IDS[:5], references(seed=1)[:5], numbered()[0, :5])
    resumed = sampler_of(STRATEGIES[strategy](), **options)
    resumed.load_state_dict(copy.deepcopy(sampler.state_dict()))
    for epoch in (2, 3):
        draws = []
        for one in (sampler, resumed):
            one.begin_epoch(epoch)
            draws.append(drawn_by(one))
        assert torch.equal(*draws)
        assert sampler.metrics() == resumed.metrics()


def test_low_coverage_that_was_asked_for_is_no_warning(caplog):
    sampler = filled(covering("nearest", 0.2))
    with caplog.at_level(logging.WARNING):
        drawn_by(sampler)
        sampler.end_epoch()
    assert not [r for r in caplog.records if "SSPS found a" in r.getMessage()]


class Unsure(SamplingStrategy):
    def __init__(self):
        super().__init__(0.0, 0.0)


def test_what_is_out_of_range_and_a_strategy_that_is_never_sure_are_refused():
    with pytest.raises(ValueError, match="coverage in .0, 1., got 1.5: change"):
        covering("nearest", 1.5)
    with pytest.raises(ValueError, match="schedule_epochs with coverage"):
        covering("nearest", [0.5, 1.0])
    with pytest.raises(ValueError, match="got Unsure, which does not: set"):
        sampler_of(Unsure(), coverage=0.5)
    sampler_of(Unsure())
