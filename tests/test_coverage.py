"""PositiveSampler that covers only the anchors it is surest of."""

import copy
import logging
import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    ConsensusSampling,
    LinearSchedule,
    NearestNeighborSampling,
    PositiveSampler,
    PositiveSamplingLoss,
    SharedNeighborSampling,
)
from ssps_plugin.losses import NTXentLoss
from ssps_plugin.sampling import Coverage, SamplingStrategy
from ssps_plugin.sampling.neighbor_lists import NeighborLists
from ssps_plugin.sampling.strategy import Whitening
from tests.test_positive_sampler import (
    IDS,
    NUM,
    filled,
    nearly,
    numbered,
    references,
    sampler_of,
)

STRATEGIES = {
    "clustering": lambda: ClusteringSampling(3, 1, whitening=0.5),
    "own cluster": lambda: ClusteringSampling(3, 0),
    "nearest": lambda: NearestNeighborSampling(2, whitening=1.0),
    "nearest in lists": lambda: NearestNeighborSampling(2, search="faiss"),
    "consensus": lambda: ConsensusSampling(3, 1, num_clusterings=4),
    "shared": lambda: SharedNeighborSampling(4, 0.1),
    "shared, joined": lambda: SharedNeighborSampling(4, 0.1, joined_epochs=2),
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
    epoch = part.start_epoch
    confidence = part.strategy.confidence(part.bank, part.seed, epoch).tolist()
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
        sizes = strategy.clusters.long().bincount()[strategy.clusters.long()]
        # Who is alone in the cluster that is drawn from can draw nobody.
        is_alone = (near == strategy.clusters) & (sizes == 1)
        assert bool(is_alone.any()) == (name == "own cluster")
        expected[is_alone] = -torch.inf
        confidence = strategy.confidence(sampler.bank, 0, 2)
        torch.testing.assert_close(confidence, expected, atol=1e-5, rtol=0)


@every_strategy
def test_an_utterance_that_was_not_seen_is_never_sure(strategy):
    sampler = covering(strategy, 0.9)
    for epoch in range(sampler.plan.first_fill_epoch, sampler.start_epoch):
        sampler.begin_epoch(epoch)
        is_last = epoch == sampler.start_epoch - 1
        rows = references() if is_last else nearly(epoch)
        sampler(IDS[:5], rows[:5], numbered()[0, :5])
    sampler.begin_epoch(sampler.start_epoch)
    confidence = sampler.strategy.confidence(sampler.bank, 0, sampler.epoch)
    assert bool((confidence[:5] > -math.inf).any())
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
    for epoch in (sampler.start_epoch, sampler.start_epoch + 1):
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

    def select(self, anchors, queue):
        return torch.full_like(anchors.index, -1)


def test_what_is_out_of_range_and_a_strategy_that_is_never_sure_are_refused():
    with pytest.raises(ValueError, match="coverage in .0, 1., got 1.5: change"):
        covering("nearest", 1.5)
    with pytest.raises(ValueError, match="schedule_epochs with coverage"):
        covering("nearest", [0.5, 1.0])
    with pytest.raises(ValueError, match="got Unsure, which does not: set"):
        sampler_of(Unsure(), coverage=0.5)
    sampler_of(Unsure())
    # Where none is covered, nobody asks who is sure.
    assert sampler_of(Unsure(), coverage=0.0).covers_nothing


class Silent(Unsure):
    has_confidence = True


def test_a_strategy_that_only_says_that_it_is_sure_is_refused():
    with pytest.raises(ValueError, match="got Silent, which does not"):
        sampler_of(Silent(), coverage=0.5)


MANY = 400


def grouped(epoch, seed=3, noisy=0.9):
    """References of forty groups of ten, and noise that is the epoch's."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randn(40, 12, generator=generator)
    noise = torch.Generator().manual_seed(100 * seed + epoch)
    rows = groups[torch.arange(MANY) % 40]
    rows = rows + noisy * torch.randn(MANY, 12, generator=noise)
    return F.normalize(rows, dim=1)


def automatic(strategy=None, start_epoch=3, **options):
    sampler = PositiveSampler(
        NearestNeighborSampling(8) if strategy is None else strategy,
        queue_size=MANY,
        reference_dim=12,
        positive_dim=1,
        start_epoch=start_epoch,
        coverage="auto",
        **options,
    )
    sampler.bind(MANY)
    return sampler


def epoch_of(sampler, epoch):
    sampler.begin_epoch(epoch)
    positives = torch.arange(MANY).float()[:, None]
    sampler(torch.arange(MANY), grouped(epoch), positives)
    return sampler.last_draw[1] if sampler.last_draw else None


@pytest.mark.parametrize("way", WAYS)
def test_auto_uses_the_draws_that_share_neighbours_in_two_epochs(way):
    sampler = automatic(pseudo_positives=way)
    lists = NeighborLists(20)
    lists.allocate(MANY)
    assert sampler.plan.first_fill_epoch == 1
    for epoch in (1, 2, 3, 4):
        if epoch > 1:  # of the epoch that ended
            whitening = Whitening(1.0)
            whitening.allocate(12)
            whitening.fit(grouped(epoch - 1))
            rows = whitening(grouped(epoch - 1))
            lists.renew(torch.arange(MANY), rows)
        drawn = epoch_of(sampler, epoch)
        if epoch < 3:
            assert bool((drawn == -1).all())
            continue
        is_used = drawn >= 0
        overlap = lists.overlap(torch.arange(MANY), drawn.clamp(min=0))
        least = lists.least_overlap(0.08)
        assert 0.08 < least < 0.12  # among no more utterances than these
        assert bool((overlap[is_used] >= least).all())
        assert 0 < float(is_used.double().mean()) < 1
        assert sampler.metrics()["coverage"] == float(is_used.double().mean())
        assert sampler.metrics()["kept_neighbors"] == lists.kept()


def test_auto_draws_what_the_strategy_draws_where_it_is_sure():
    sampler, plain = automatic(), automatic()
    plain.coverage = Coverage(1.0, None, plain.strategy)
    for epoch in (1, 2, 3):
        drawn, every = epoch_of(sampler, epoch), epoch_of(plain, epoch)
    assert bool((every >= 0).all())
    is_used = drawn >= 0
    assert torch.equal(drawn[is_used], every[is_used])
    overlap = sampler.coverage.lists.overlap(torch.arange(MANY), every)
    least = sampler.coverage.lists.least_overlap(0.08)
    assert torch.equal(is_used, overlap >= least)


def test_auto_survives_a_resume_inside_an_epoch():
    sampler = automatic()
    for epoch in (1, 2, 3):
        epoch_of(sampler, epoch)
    resumed = automatic()
    resumed.load_state_dict(copy.deepcopy(sampler.state_dict()))
    for epoch in (3, 4, 5):
        drawn = epoch_of(sampler, epoch)
        assert torch.equal(drawn, epoch_of(resumed, epoch))
    assert sampler.metrics() == resumed.metrics()


def test_the_log_says_in_words_why_anchors_kept_their_own(caplog):
    sampler = automatic(start_epoch=2)
    with caplog.at_level(logging.INFO):
        for epoch in (1, 2, 3):
            epoch_of(sampler, epoch)
        sampler.end_epoch()
    said = [r.getMessage() for r in caplog.records]
    assert any(
        "epoch 2: 0.0 % of the anchors" in one and "of one epoch yet" in one
        for one in said
    )
    (third,) = [one for one in said if "epoch 3:" in one and "anchors" in one]
    assert "the others kept their own, since nobody that they m" in third
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("strategy", [None, SharedNeighborSampling])
def test_a_warning_names_lists_that_are_long_for_the_corpus(caplog, strategy):
    sampler = automatic(strategy and strategy())
    assert all(one.levelno < logging.WARNING for one in caplog.records)
    assert "share much by" not in caplog.text
    sampler.bind(100)
    assert "20 neighbours among 100 utterances share much by" in caplog.text


def test_nothing_is_told_from_references_that_are_all_alike():
    for strategy in (None, SharedNeighborSampling(8)):
        sampler = automatic(strategy)
        for epoch in (1, 2, 3, 4):
            sampler.begin_epoch(epoch)
            alike = F.normalize(torch.ones(MANY, 12) + 0.01 * grouped(epoch))
            sampler(torch.arange(MANY), alike, torch.zeros(MANY, 1))
        assert sampler.gives_up and sampler.metrics()["coverage"] == 0


def test_an_epoch_that_saw_hardly_anything_is_no_epoch_of_lists():
    sampler = automatic()
    sampler.begin_epoch(1)
    lost = grouped(1)
    lost[10:] = float("nan")
    sampler(torch.arange(MANY), lost, torch.zeros(MANY, 1))
    assert bool((epoch_of(sampler, 2) == -1).all())
    assert bool((epoch_of(sampler, 3) == -1).all())  # of one epoch yet
    assert bool((epoch_of(sampler, 4) >= 0).any())


def test_too_few_seen_when_ssps_starts_says_what_was_lost():
    sampler = automatic()
    lost = grouped(1)
    lost[10:] = float("nan")
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        sampler(torch.arange(MANY), lost, torch.zeros(MANY, 1))
    with pytest.raises(ValueError, match="seen so far with .*got 10.*not rem"):
        sampler.begin_epoch(3)


def test_a_queue_that_is_too_short_is_named(caplog):
    sampler = PositiveSampler(
        ClusteringSampling(40, 0), 50, 12, 1, 3, coverage="auto"
    )
    sampler.bind(MANY)
    with caplog.at_level(logging.INFO):
        for epoch in (1, 2, 3):
            sampler.begin_epoch(epoch)
            for part in torch.arange(MANY).split(50):
                rows = grouped(epoch, noisy=0.6)[part]
                sampler(part, rows, torch.zeros(50, 1))
        sampler.end_epoch()
    assert (
        "among the 50 utterances of the queue (queue_size), of 400"
        in caplog.text
    )


def test_after_a_bind_that_failed_nothing_is_bound():
    sampler = automatic()
    sampler = PositiveSampler(
        NearestNeighborSampling(2), 20, 12, 1, 3, coverage="auto"
    )
    for _ in range(2):
        with pytest.raises(ValueError, match="than 20 training utterances"):
            sampler.bind(15)
    assert sampler.utterances is None


@pytest.mark.parametrize(
    ("saved", "options", "message"),
    [
        ({"coverage": "auto"}, {}, "that has coverage.*, too: resume with"),
        ({}, {"coverage": "auto"}, "without coverage.*: resume with the str"),
        ({"coverage": 0.5}, {}, "that has coverage._is_confident, too"),
        ({"pseudo_positives": "read"}, {}, "that has partner_table.partners"),
    ],
)
def test_a_state_of_other_settings_is_refused_whole(saved, options, message):
    def make(options):
        sampler = PositiveSampler(
            NearestNeighborSampling(2), MANY, 12, 1, 3, **options
        )
        sampler.bind(MANY)
        return sampler

    trained, other = make(saved), make(options)
    for epoch in (1, 2, 3):
        epoch_of(trained, epoch)
    with pytest.raises(RuntimeError, match=message):
        other.load_state_dict(trained.state_dict())
    assert other.epoch is None and not bool(other.bank.seen.any())


class Shy(NearestNeighborSampling):
    holds_back = True


def test_a_strategy_of_ones_own_may_hold_back(caplog):
    sampler = automatic(Shy(2))
    with caplog.at_level(logging.INFO):
        for epoch in (1, 2, 3):
            epoch_of(sampler, epoch)
        sampler.end_epoch()
    assert "epoch 3: 100.0 % of the anchors got" in caplog.text


def test_a_strategy_that_holds_back_needs_nothing_more_for_auto():
    sampler = automatic(SharedNeighborSampling(8))
    assert not sampler.coverage.compares_lists
    for epoch in (1, 2, 3):
        drawn = epoch_of(sampler, epoch)
    assert bool((drawn >= 0).any())


class Few(Shy):
    """Draws the next utterance, in some epochs for few of them."""

    is_conclusive = True

    def __init__(self, few_in=(), num_sure=132):
        super().__init__(2)
        self.few_in, self.num_sure = few_in, num_sure

    def prepare(self, bank, queue, seed, epoch):
        super().prepare(bank, queue, seed, epoch)
        self.most = self.num_sure if epoch in self.few_in else MANY

    def _next(self, index):
        return torch.where(index < self.most, (index + 1) % MANY, -1)

    def select(self, anchors, queue):
        drawn = self._next(anchors.index)
        return torch.where(drawn >= 0, queue.slots[drawn].long(), -1)

    def select_partners(self, anchors, bank):
        return self._next(anchors.index)


def drawn_in(sampler, epochs):
    return [epoch_of(sampler, epoch) for epoch in epochs][-1]


@pytest.mark.parametrize("way", WAYS)
def test_auto_does_not_begin_where_few_draws_are_sure(way, caplog):
    sampler = automatic(Few(few_in=(3,)), pseudo_positives=way)
    with caplog.at_level(logging.INFO):
        for epoch in range(2, 7):
            drawn = epoch_of(sampler, epoch)
            assert sampler.gives_up == (epoch > 2)
            assert drawn is None or bool((drawn == -1).all())
            # Nothing is needed of a run without SSPS.
            assert sampler.needs_reference == (epoch == 2)
            assert sampler.substituting is False
        sampler.end_epoch()
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    said = record.getMessage()
    assert said.startswith("SSPS does not begin, up to epoch 3, and the run")
    assert "the draws of 33.0 % of the utterances are sure, fewer" in said
    sure = {"coverage": 0.0, "sure_draws": pytest.approx(0.33)}
    assert sampler.metrics() == sure


@pytest.mark.parametrize("way", WAYS)
def test_auto_that_has_begun_goes_on_where_few_draws_are_sure(way):
    sampler = automatic(Few(few_in=(4,)), pseudo_positives=way)
    covered = []
    for epoch in range(2, 6):
        epoch_of(sampler, epoch)
        covered.append(sampler.metrics()["coverage"])
    assert covered == [0.0, 1.0, 0.33, 1.0] and not sampler.gives_up


@pytest.mark.parametrize("queue_size", [MANY, MANY // 20])
def test_how_many_draws_are_sure_does_not_depend_on_the_queue(queue_size):
    sampler = PositiveSampler(
        ClusteringSampling(40, 0), queue_size, 12, 1, 3, coverage="auto"
    )
    sampler.bind(MANY)
    for epoch in (1, 2, 3):
        sampler.begin_epoch(epoch)
        for index in torch.arange(MANY).split(20):
            positives = index.float()[:, None]
            sampler(index, grouped(epoch)[index], positives)
    assert sampler.metrics()["sure_draws"] > 0.3
    sure[queue_size] = sampler.metrics()["sure_draws"]
    assert len(set(sure.values())) == 1


sure: dict[int, float] = {}


def test_auto_waits_only_while_nothing_can_be_told():
    sampler = automatic(Few(few_in=(3, 4, 5), num_sure=0))
    sampler.strategy.is_conclusive = False
    drawn_in(sampler, (2, 3, 4))
    assert not sampler.gives_up and sampler.metrics()["coverage"] == 0
    sampler.strategy.is_conclusive = True
    epoch_of(sampler, 5)
    assert sampler.gives_up


def from_noise(strategy, num, epochs, **options):
    """A sampler that saw references without any structure."""
    sampler = PositiveSampler(
        strategy, num, 16, 1, 3, coverage="auto", **options
    )
    sampler.bind(num)
    for epoch in range(1, epochs + 1):
        sampler.begin_epoch(epoch)
        generator = torch.Generator().manual_seed(epoch)
        rows = torch.randn(num, 16, generator=generator)
        sampler(
            torch.arange(num), F.normalize(rows, dim=1), torch.zeros(num, 1)
        )
    return sampler


@pytest.mark.parametrize("num", [400, 500, 600, 3000])
@pytest.mark.parametrize(
    "strategy",
    [
        lambda num: SharedNeighborSampling(20, 0.08),
        lambda num: ClusteringSampling(num // 6, 1),
    ],
    ids=["shared", "clustering"],
)
def test_auto_does_not_begin_by_chance_in_a_corpus_of_any_size(num, strategy):
    sampler = from_noise(strategy(num), num, 3)
    assert sampler.gives_up and not sampler.needs_reference
    assert sampler.metrics()["sure_draws"] < 0.25


@pytest.mark.parametrize("latest", [3, 4, 5])
def test_auto_gives_up_at_the_latest_epoch_also_where_none_is_sure(latest):
    strategy = SharedNeighborSampling(20, 0.9)
    sampler = from_noise(strategy, 400, latest - 1, latest_start_epoch=latest)
    assert not sampler.gives_up
    sampler.begin_epoch(latest)
    assert sampler.gives_up


def test_auto_gives_up_where_the_encoder_has_collapsed():
    sampler = PositiveSampler(
        SharedNeighborSampling(20), 400, 4, 1, 3, coverage="auto"
    )
    sampler.bind(400)
    for epoch in (1, 2, 3):
        sampler.begin_epoch(epoch)
        same = torch.ones(400, 4) / 2
        sampler(torch.arange(400), same, torch.zeros(400, 1))
    assert sampler.gives_up


def test_partners_that_nobody_reads_are_warned_of(caplog):
    options = {"pseudo_positives": "read"}
    for reads in (True, False):
        caplog.clear()
        sampler = automatic(Few(()), **options)
        if reads:
            assert len(sampler.partners) == MANY
        drawn_in(sampler, (2, 3))
        warned = "nobody reads them" in caplog.text
        assert warned != reads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("begins_in", [3, 4, 5, None])
def test_auto_begins_when_enough_draws_are_sure_up_to_an_epoch(
    way, begins_in, caplog
):
    few_in = range(3, begins_in or 9)
    sampler = automatic(Few(few_in), pseudo_positives=way, latest_start_epoch=5)
    assert sampler.plan.first_fill_epoch == 2
    with caplog.at_level(logging.INFO):
        for epoch in range(2, 8):
            drawn = epoch_of(sampler, epoch)
            has_begun = begins_in is not None and epoch >= begins_in
            assert sampler.substituting == has_begun
            assert sampler.gives_up == (begins_in is None and epoch >= 5)
            assert drawn is None or bool((drawn >= 0).all()) == has_begun
            assert drawn is None or bool((drawn >= 0).any()) == has_begun
            assert sampler.needs_reference == (not sampler.gives_up)
    waited = begins_in != 3
    assert (
        "by which coverage auto begins, in epoch 5 at the" in caplog.text
    ) == waited
    assert ("does not begin, up to epoch 5" in caplog.text) == (not begins_in)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("objects_in", [(3,), (3, 4), (3, 4, 5)])
def test_auto_does_not_begin_against_an_objection(way, objects_in, caplog):
    sampler = automatic(Few(()), pseudo_positives=way, latest_start_epoch=5)
    with caplog.at_level(logging.INFO):
        for epoch in range(1, 7):
            reason = "it tells 1.1 nats" if epoch in objects_in else ""
            sampler.object_to_beginning(reason)
            epoch_of(sampler, epoch)
            has_begun = len(objects_in) < 3 and epoch > max(objects_in)
            assert sampler.substituting == has_begun
            assert sampler.gives_up == (len(objects_in) == 3 and epoch >= 5)
    said = [r.getMessage() for r in caplog.records if "1.1 nats" in r.message]
    assert "since it tells 1.1 nats: too little for coverage auto to" in said[0]
    gave_up = "SSPS does not begin, up to epoch 5" in caplog.text
    assert gave_up == (len(objects_in) == 3)


def test_what_has_begun_goes_on_whatever_objects_and_another_coverage_too():
    sampler = automatic(Few(()))
    drawn_in(sampler, (1, 2, 3))
    always = filled(covering("nearest", 1.0))
    for one, epoch in ((sampler, 4), (always, 3)):
        one.object_to_beginning("too little")
        one.begin_epoch(epoch)
        assert one.substituting and not one.gives_up


@pytest.mark.parametrize("way", WAYS)
def test_a_resume_while_auto_waits_begins_when_the_run_does(way):
    options = {"pseudo_positives": way, "latest_start_epoch": 6}
    sampler = automatic(Few(range(3, 5)), **options)
    drawn_in(sampler, (1, 2, 3))
    resumed = automatic(Few(range(3, 5)), **options)
    resumed.load_state_dict(copy.deepcopy(sampler.state_dict()))
    for epoch in (3, 4, 5, 6):
        drawn = [epoch_of(one, epoch) for one in (sampler, resumed)]
        assert torch.equal(*drawn)
        assert sampler.substituting == resumed.substituting == (epoch > 4)
        assert sampler.metrics() == resumed.metrics()


def test_a_latest_start_before_the_start_is_refused():
    with pytest.raises(
        ValueError, match="ssps_latest_start_epoch. of at least"
    ):
        automatic(latest_start_epoch=2)


def test_a_third_is_enough_to_begin():
    for num_sure, begins in ((MANY // 3, False), (MANY // 3 + 1, True)):
        sampler = automatic(Few(few_in=(3,), num_sure=num_sure))
        drawn_in(sampler, (1, 2, 3))
        assert sampler.gives_up != begins
        covered = sampler.metrics()["coverage"]
        assert covered == (num_sure / MANY if begins else 0)
        sure = sampler.metrics()["sure_draws"]
        assert sure == pytest.approx(num_sure / MANY)


@pytest.mark.parametrize("way", WAYS)
def test_a_strategy_that_holds_back_gives_up_with_auto_only(way):
    for coverage, gives_up in (("auto", True), (1.0, False)):
        strategy = Few(few_in=(3,))
        sampler = automatic(strategy, pseudo_positives=way)
        sampler.coverage = Coverage(coverage, None, strategy)
        sampler.coverage.allocate(MANY, 12)
        drawn_in(sampler, (1, 2, 3))
        assert sampler.metrics()["coverage"] == (0 if gives_up else 0.33)
        assert ("sure_draws" in sampler.metrics()) == gives_up


@pytest.mark.parametrize("way", WAYS)
def test_a_resume_of_a_run_that_gave_up_is_one_that_did(way):
    sampler = automatic(Few(few_in=(3,)), pseudo_positives=way)
    drawn_in(sampler, (1, 2, 3))
    for epoch in (3, 4):  # inside the epoch, and between two
        resumed = automatic(Few(few_in=()), pseudo_positives=way)
        resumed.load_state_dict(copy.deepcopy(sampler.state_dict()))
        resumed.begin_epoch(epoch)
        assert resumed.gives_up
        assert sampler.metrics() == resumed.metrics()
    resumed.reset()
    assert not resumed.gives_up


class FewInClusters(Few):
    has_clusters = True

    def cluster_of(self, index):
        return index // 10

    def cluster_of_positives(self, anchors, drawn, rows):
        return drawn // 10


@pytest.mark.parametrize("few_in", [(), (3,)])
def test_a_run_that_gave_up_masks_no_false_negatives(few_in):
    sampler = automatic(FewInClusters(few_in))
    loss = NTXentLoss(temperature=0.1)
    loss = PositiveSamplingLoss(loss, sampler, mask_false_negatives=True)
    for epoch in (1, 2, 3):
        sampler.begin_epoch(epoch)
        every = torch.arange(MANY)
        positives = every.float()[:, None]
        kept, groups = loss.substitute(positives, every, grouped(epoch))
        begins = epoch == 3 and not few_in
        assert bool(groups) == begins
        assert (kept is positives) != begins


def test_references_that_are_never_renewed_again_are_warned_of(caplog):
    sampler = automatic(last_reference_epoch=2)
    for epoch in (2, 3):  # lists of one epoch, as after a warm start
        epoch_of(sampler, epoch)
    sampler.end_epoch()
    assert "SSPS will substitute nothing" in caplog.text
    assert "Raise last_reference_epoch" in caplog.text


def test_where_auto_cannot_be_is_refused():
    with pytest.raises(ValueError, match="than 20 training utterances .* 12"):
        covering("nearest", "auto")
    with pytest.raises(ValueError, match="auto, got CentroidSampling, which"):
        sampler_of(CentroidSampling(3, 1), coverage="auto")
    with pytest.raises(ValueError, match="got 'automatic': change coverage"):
        covering("nearest", "automatic")
