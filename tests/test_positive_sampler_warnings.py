"""What the sampler says of an epoch in which something is wrong."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    NearestNeighborSampling,
    PositiveSampler,
)

NUM, DIM, K = 48, 8, 8
INDEX = torch.arange(NUM)

every_strategy = pytest.mark.parametrize(
    "make_strategy",
    [
        lambda: ClusteringSampling(K, 1),
        lambda: ClusteringSampling(K, 1, whitening=0.5),
        lambda: ClusteringSampling(K, 1, whitening=1.0),
        lambda: CentroidSampling(K, 1),
        lambda: NearestNeighborSampling(3),
        lambda: NearestNeighborSampling(3, whitening=1.0),
    ],
    ids=["clusters", "half", "whitened", "centroids", "nearest", "nearest w."],
)


def sampler_of(strategy, queue_size=NUM, **options):
    sampler = PositiveSampler(
        strategy, queue_size, DIM, DIM, start_epoch=2, **options
    )
    sampler.bind(range(NUM))
    return sampler


def random_units(num=NUM, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num, DIM, generator=generator), dim=1)


def run_epoch(sampler, epoch, reference, positives=None):
    sampler.begin_epoch(epoch)
    positives = random_units(seed=1) if positives is None else positives
    return sampler(INDEX, reference, positives)


def warnings_of(caplog):
    """The warnings so far, which are then forgotten."""
    messages = [
        record.message
        for record in caplog.records
        if record.levelname == "WARNING"
    ]
    caplog.clear()
    return messages


@every_strategy
@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.02])
def test_a_collapsed_encoder_is_named_once_an_epoch(
    make_strategy, noise, caplog
):
    sampler = sampler_of(make_strategy())
    rows = random_units(1) + noise * random_units(seed=2)
    reference = F.normalize(rows, dim=1)
    run_epoch(sampler, 1, reference)
    assert warnings_of(caplog) == []
    for epoch in (2, 3, 4):
        drawn = run_epoch(sampler, epoch, reference)
        (message,) = warnings_of(caplog)
        assert "nearly the same (mean cosine 1.000)" in message
        assert "encoder has collapsed or the recordings are copies" in message
        assert "lower the learning rate" in message
        assert "queue_size" not in message
        assert drawn.isfinite().all()
        state = sampler.state_dict().values()
        assert all(
            value.isfinite().all()
            for value in state
            if value.is_floating_point() and value.dim() != 1
        )


@every_strategy
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_references_that_are_identical_to_the_last_bit_crash_nothing(
    make_strategy, value, caplog
):
    sampler = sampler_of(make_strategy())
    reference = F.normalize(torch.full((NUM, DIM), value), dim=1)
    for epoch in (1, 2, 3):
        assert run_epoch(sampler, epoch, reference).isfinite().all()
    assert "nearly the same" in warnings_of(caplog)[-1]


def test_references_that_differ_are_not_warned_of(caplog):
    for strategy in (ClusteringSampling(K, 1), NearestNeighborSampling(3)):
        sampler = sampler_of(strategy)
        for epoch in (1, 2, 3):
            run_epoch(sampler, epoch, random_units())
        assert warnings_of(caplog) == []


def test_one_cluster_that_holds_nearly_everything_is_named(caplog):
    sampler = sampler_of(ClusteringSampling(K, 1))
    # All but six alike, to the last bit: one cluster, whatever the start.
    reference = random_units()
    reference[6:] = -reference[:1]
    run_epoch(sampler, 1, reference)
    sampler.begin_epoch(2)
    (message,) = warnings_of(caplog)
    assert "one of the 8 clusters holds 87.5 % of the utterances" in message
    assert "whitening: 0.5" in message
    assert "queue_size" not in message


def test_mostly_empty_clusters_are_named(caplog):
    sampler = sampler_of(ClusteringSampling(K * 2, 0))
    copies = random_units(3).repeat(NUM // 3, 1)
    run_epoch(sampler, 1, copies)
    sampler.begin_epoch(2)
    (message,) = warnings_of(caplog)
    assert "13 of the 16 clusters are empty" in message
    assert "Lower num_clusters, or look for copies" in message
    assert "queue_size" not in message


@pytest.mark.parametrize(("num_clusters", "expected"), [(1, False), (2, True)])
def test_one_cluster_that_was_asked_for_may_hold_everything(
    num_clusters, expected, caplog
):
    sampler = sampler_of(ClusteringSampling(num_clusters, 0))
    sampler.bank.write(INDEX, random_units())
    sampler.strategy.clusters.zero_()
    assert (sampler.strategy.find_fault() is not None) == expected


def test_a_low_coverage_with_a_small_queue_says_to_raise_it(caplog):
    sampler = sampler_of(ClusteringSampling(16, 1), queue_size=4)
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        for rows in INDEX.split(4):
            sampler(rows, random_units()[rows], random_units()[rows])
    assert warnings_of(caplog) == []
    sampler.end_epoch()
    (message,) = warnings_of(caplog)
    assert "raise queue_size, or lower num_clusters" in message
    sampler.begin_epoch(3)  # each epoch once
    assert warnings_of(caplog) == []


def test_a_low_coverage_with_everything_in_the_queue_does_not(caplog):
    sampler = sampler_of(ClusteringSampling(NUM, 0))
    for epoch in (1, 2):
        run_epoch(sampler, epoch, random_units())
    sampler.end_epoch()
    (message,) = warnings_of(caplog)
    assert "found a pseudo-positive for 0.0 % of the anchors of epoch 2" in (
        message
    )
    assert "lower num_clusters, or change num_neighbors" in message
    assert "queue_size" not in message


def test_a_low_coverage_where_few_were_seen_says_so(caplog):
    sampler = sampler_of(ClusteringSampling(4, 1))
    sampler.begin_epoch(1)
    sampler(INDEX[:8], random_units()[:8], random_units()[:8])
    run_epoch(sampler, 2, random_units())
    sampler.end_epoch()
    (message,) = warnings_of(caplog)
    assert "8 of 48 utterances had a reference when the epoch began" in message


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["references", "references or positives"])
def test_a_filling_epoch_of_nan_alone_is_named_as_the_cause(bad, where, caplog):
    sampler = sampler_of(ClusteringSampling(K, 1))
    wrong = torch.full((NUM, DIM), bad)
    positives = wrong if "positives" in where else None
    run_epoch(sampler, 1, wrong, positives)
    with pytest.raises(
        RuntimeError, match="nothing is remembered: 48 of 48 "
    ) as (error):
        sampler.begin_epoch(2)
    message = str(error.value)
    assert f"because their {where} were not finite (NaN or infinity)" in message
    assert "Lower the learning rate" in message
    assert "Train the epoch before" not in message
    assert sampler.epoch == 1


def test_too_few_finite_references_to_cluster_are_explained():
    sampler = sampler_of(ClusteringSampling(K, 1))
    reference = random_units()
    reference[3:] = math.nan
    run_epoch(sampler, 1, reference)
    with pytest.raises(
        ValueError,
        match=r"seen so far, got 3: .* Note: 45 of 48 rows of epoch 1",
    ):
        sampler.begin_epoch(2)


def test_some_rows_of_nan_are_counted_once_an_epoch(caplog):
    sampler = sampler_of(NearestNeighborSampling(3))
    reference = random_units()
    reference[5] = math.nan
    run_epoch(sampler, 1, reference)
    run_epoch(sampler, 2, random_units())
    (message,) = warnings_of(caplog)
    assert "did not remember 1 of 48 rows of epoch 1, because their ref" in (
        message
    )
    sampler.begin_epoch(3)
    assert warnings_of(caplog) == []


def test_an_encoder_that_breaks_after_the_start_is_not_blamed_on_the_queue(
    caplog,
):
    sampler = sampler_of(ClusteringSampling(K, 1))
    for epoch in (1, 2):
        run_epoch(sampler, epoch, random_units())
    sampler.begin_epoch(3)
    for _ in range(3):
        sampler(INDEX, torch.full((NUM, DIM), math.nan), random_units())
    sampler.end_epoch()
    told, coverage = warnings_of(caplog)
    assert "did not remember 144 of 144 rows of epoch 3" in told
    assert "the references of 144 of 144 rows were not finite" in coverage
    assert "queue_size" not in coverage


@pytest.mark.parametrize("num_batches", [0, 2])
def test_a_warm_start_that_remembers_nothing_is_an_error(num_batches):
    sampler = sampler_of(NearestNeighborSampling(3))
    wrong = torch.full((NUM, DIM), math.nan)
    batches = [(INDEX, wrong, random_units())] * num_batches
    with pytest.raises(
        RuntimeError,
        match=f"from a warm start, got {num_batches * NUM} rows, none of them",
    ):
        sampler.warm_start(batches)


def test_the_mean_cosine_is_that_of_a_loop_over_pairs():
    bank = sampler_of(NearestNeighborSampling(3)).bank
    assert bank.mean_cosine() == 0.0
    rows = random_units() + 0.3
    bank.write(INDEX[:1], rows[:1])
    assert bank.mean_cosine() == 0.0
    bank.write(INDEX[:20], rows[:20])
    unit = F.normalize(rows[:20].double(), dim=1)
    cosines = [
        float(unit[i] @ unit[j]) for i in range(20) for j in range(20) if i != j
    ]
    mean = sum(cosines) / len(cosines)
    assert bank.mean_cosine() == pytest.approx(mean, abs=1e-6)
