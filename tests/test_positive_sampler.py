"""PositiveSampler: what it substitutes, and what it remembers."""

import math

import pytest
import torch
import torch.nn.functional as F
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin import (
    ClusteringSampling,
    NearestNeighborSampling,
    PositiveSampler,
)

NUM, DIM = 12, 4
IDS = [f"utterance{i}" for i in range(NUM)]


def references(num=NUM, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num, DIM, generator=generator), dim=1)


def nearly(epoch):
    """References, as another epoch would have them."""
    noise = references(seed=9 + epoch)
    return F.normalize(references() + 0.5 * noise, dim=1)


def sampler_of(strategy=None, queue_size=NUM, start_epoch=None, **options):
    """A bound sampler; it starts as soon as it can have filled its memories."""
    strategy = strategy or NearestNeighborSampling(1)
    start_epoch = start_epoch or 1 + strategy.num_fill_epochs
    options = {"positive_dim": 1, **options}
    sampler = PositiveSampler(
        strategy,
        queue_size,
        DIM,
        start_epoch=start_epoch,
        **options,
    )
    sampler.bind(IDS)
    return sampler


def numbered(num_targets=1, dim=1, offset=0.0):
    """The positive of utterance i is i, and 100 more per target."""
    rows = torch.arange(float(NUM))[None, :, None] + offset
    targets = 100 * torch.arange(float(num_targets))[:, None, None]
    return (rows + targets).repeat(1, 1, dim)


def filled(sampler, positives=None):
    """Remember all utterances in the epochs before start_epoch; begin it."""
    positives = numbered()[0] if positives is None else positives
    for epoch in range(sampler.plan.first_fill_epoch, sampler.start_epoch):
        sampler.begin_epoch(epoch)
        is_last = epoch == sampler.start_epoch - 1
        sampler(IDS, references() if is_last else nearly(epoch), positives)
    sampler.begin_epoch(sampler.start_epoch)
    return sampler


def nearest_other():
    similarity = references().double() @ references().double().T
    return similarity.fill_diagonal_(-2).argmax(1)


def held(sampler):
    """Utterance -> its first target in the queue."""
    queue = sampler.queue
    return {
        utterance: queue.positives[0, slot].tolist()
        for slot, utterance in enumerate(queue.utterances.tolist())
        if utterance >= 0
    }


@pytest.mark.parametrize("shape", [(NUM, 1), (NUM, 1, 1), (1, NUM, 1)])
def test_the_positive_of_the_drawn_utterance_comes_out(shape):
    sampler = filled(sampler_of())
    positives = numbered(offset=0.5).view(shape)
    drawn = sampler(IDS, references(), positives)
    assert drawn.shape == shape
    assert drawn.flatten().tolist() == nearest_other().tolist()


def test_speechbrains_shape_is_remembered_like_the_plain_one():
    plain, speechbrain = sampler_of(), sampler_of()
    for sampler, shape in ((plain, (NUM, 1)), (speechbrain, (NUM, 1, 1))):
        filled(sampler, numbered().view(shape))
    assert held(speechbrain) == held(plain)


@pytest.mark.parametrize(
    "strategy", [NearestNeighborSampling(4), ClusteringSampling(3, 1)]
)
def test_all_targets_of_an_anchor_come_from_one_utterance(strategy):
    sampler = filled(
        sampler_of(strategy, num_targets=2, positive_dim=3), numbered(2, 3)
    )
    drawn = sampler(IDS, references(), numbered(2, 3, offset=0.5))
    assert torch.equal(drawn[1], drawn[0] + 100)
    assert torch.equal(drawn, drawn[:, :, :1].expand(-1, -1, 3))
    assert (drawn[0, :, 0] != torch.arange(NUM)).all()


def test_an_anchor_without_a_pseudo_positive_keeps_its_own():
    sampler = filled(sampler_of(ClusteringSampling(NUM, 0)))
    positives = numbered(offset=0.5)[0]
    assert torch.equal(sampler(IDS, references(), positives), positives)
    assert sampler.metrics()["coverage"] == 0.0
    assert sampler.last_draw[1].tolist() == [-1] * NUM


def test_epochs_before_the_filling_one_change_and_remember_nothing():
    sampler = sampler_of(start_epoch=4)
    positives = numbered()[0]
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        assert sampler(IDS, None, positives) is positives
        assert not sampler.remembering
        assert sampler.metrics() == {}
    assert held(sampler) == {}


def test_the_filling_epoch_remembers_and_returns_the_same_numbers():
    sampler = sampler_of()
    sampler.begin_epoch(1)
    assert sampler.remembering
    assert not sampler.substituting
    positives = numbered()[0]
    assert torch.equal(sampler(IDS, references(), positives), positives)
    assert held(sampler) == {i: [float(i)] for i in range(NUM)}
    assert torch.equal(sampler.bank.references, references())


def test_start_epoch_one_substitutes_after_a_warm_start():
    sampler = sampler_of(start_epoch=1)
    sampler.warm_start([(IDS, references(), numbered()[0])])
    sampler.begin_epoch(1)
    drawn = sampler(IDS, references(), numbered(offset=0.5)[0])
    assert drawn.flatten().tolist() == nearest_other().tolist()


def test_what_this_very_step_writes_is_not_drawn():
    sampler = sampler_of(NearestNeighborSampling(NUM))
    half = NUM // 2
    sampler.begin_epoch(1)
    sampler(IDS[:half], references()[:half], numbered()[0, :half])
    sampler.begin_epoch(2)
    sampler(IDS[half:], references()[half:], numbered()[0, half:])
    assert (sampler.last_draw[1] < half).all()
    sampler(IDS[half:], references()[half:], numbered()[0, half:])
    assert sampler.bank.seen.all()


def test_the_original_positives_are_queued():
    sampler = filled(sampler_of())
    drawn = sampler(IDS, references(), numbered(offset=0.5)[0])
    assert held(sampler) == {i: [i + 0.5] for i in range(NUM)}
    # What was given out is not a view of the memory that was overwritten.
    assert drawn.flatten().tolist() == nearest_other().tolist()


def test_the_latest_reference_and_positive_of_a_repeated_utterance_stay():
    sampler = sampler_of()
    sampler.begin_epoch(1)
    ids = ["utterance3", "utterance5", "utterance3"]
    rows = references(3, seed=1)
    sampler(ids, rows, torch.tensor([[1.0], [2.0], [3.0]]))
    assert held(sampler) == {5: [2.0], 3: [3.0]}
    assert torch.equal(sampler.bank.references[3], rows[2])
    assert sampler.bank.seen.sum() == 2


def test_repeats_of_an_anchor_draw_the_same():
    sampler = filled(sampler_of(NearestNeighborSampling(6)))
    ids = IDS[:3] * 3
    drawn = sampler(ids, references()[:3].repeat(3, 1), torch.zeros(9, 1))
    assert torch.equal(drawn, drawn[:3].repeat(3, 1))


@pytest.mark.parametrize(
    "strategy", [NearestNeighborSampling(2), ClusteringSampling(3, 1)]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rows_that_are_not_finite_are_not_remembered_and_counted(strategy, bad):
    sampler = sampler_of(strategy)
    sampler.begin_epoch(1)
    wrong = references()
    wrong[2, 1] = bad
    positives = numbered()[0]
    positives[4] = bad
    sampler(IDS, wrong, positives)
    assert sampler.metrics()["not_remembered"] == 2.0
    assert set(held(sampler)) == set(range(NUM)) - {2, 4}
    assert sampler.bank.seen.nonzero().flatten().tolist() == sorted(
        held(sampler)
    )
    sampler.begin_epoch(2)
    drawn = sampler(IDS, references(), numbered()[0])
    assert drawn.isfinite().all()
    # What had been remembered is forgotten when a bad row replaces it.
    sampler(IDS, wrong, positives)
    for epoch in range(3, 20):
        sampler.begin_epoch(epoch)
        assert sampler(IDS, references(), positives)[4 + 1 :].isfinite().all()
        assert not torch.isin(sampler.last_draw[1], torch.tensor([2, 4])).any()
        sampler(IDS, wrong, positives)


def test_drawn_rows_carry_no_gradient_and_own_rows_keep_theirs():
    sampler = sampler_of(ClusteringSampling(5, 0))
    filled(sampler)
    positives = numbered()[0].requires_grad_()
    reference = references().requires_grad_()
    drawn = sampler(IDS, reference, positives)
    weights = torch.arange(1.0, NUM + 1)[:, None]
    (drawn * weights).sum().backward()
    own = sampler.last_draw[1] < 0
    assert own.any()
    assert not own.all()
    assert torch.equal(positives.grad, torch.where(own[:, None], weights, 0.0))
    assert reference.grad is None
    assert not any(buffer.requires_grad for buffer in sampler.buffers())


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32]
)
def test_any_float_dtype_goes_in_and_out(dtype):
    sampler = filled(sampler_of(), numbered()[0].to(dtype))
    positives = numbered(offset=0.5)[0].to(dtype)
    drawn = sampler(IDS, references().to(dtype), positives)
    assert drawn.dtype == dtype
    assert drawn.flatten().tolist() == nearest_other().tolist()
    assert sampler.queue.positives.dtype == torch.float32


@pytest.mark.parametrize(
    "make_strategy",
    [
        lambda: NearestNeighborSampling(3, whitening=0.5),
        lambda: ClusteringSampling(3, 1, whitening=0.5),
    ],
    ids=["nearest neighbor", "clustering"],
)
def test_autocast_changes_no_draw_and_no_memory(make_strategy):
    samplers = []
    for enabled in (False, True):
        sampler = sampler_of(make_strategy())
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            filled(sampler)
            sampler(IDS, references(), numbered()[0])
        samplers.append(sampler)
    plain, autocast = (sampler.state_dict() for sampler in samplers)
    for name, value in plain.items():
        if torch.is_tensor(value):
            assert torch.equal(autocast[name], value), name
    assert torch.equal(*(sampler.last_draw[1] for sampler in samplers))


def test_half_precision_references_draw_alike_and_take_half_the_memory():
    whole = filled(sampler_of())
    half = filled(sampler_of(reference_dtype="float16"))
    assert half.bank.references.dtype == torch.float16
    positives = numbered(offset=0.5)[0]
    drawn = half(IDS, references(), positives)
    assert torch.equal(drawn, whole(IDS, references(), positives))
    assert half.bank.references.nbytes * 2 == whole.bank.references.nbytes


def test_half_precision_references_are_clustered():
    sampler = filled(
        sampler_of(ClusteringSampling(3, 1), reference_dtype="float16")
    )
    expected = filled(sampler_of(ClusteringSampling(3, 1)))
    assert torch.equal(sampler.clusters(), expected.clusters())


def test_ids_as_strings_equal_ids_as_positions():
    draws = []
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(2))
    for ids in ([IDS[i] for i in order], order, order.int()):
        sampler = filled(sampler_of(ClusteringSampling(3, 1)))
        draws.append(sampler(ids, references()[order], numbered()[0, order]))
        assert torch.equal(sampler.cluster_of(ids), sampler.clusters()[order])
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_a_draw_does_not_depend_on_the_batches_of_the_epoch():
    whole, split = (
        filled(sampler_of(NearestNeighborSampling(5), queue_size=100))
        for _ in range(2)
    )
    positives = numbered()[0]
    together = whole(IDS, references(), positives)
    one = split(IDS[:1], references()[:1], positives[:1])
    rest = split(IDS[1:], references()[1:], positives[1:])
    assert torch.equal(torch.cat([one, rest]), together)


def test_outside_training_everything_passes_through_without_ids():
    sampler = filled(sampler_of()).eval()
    before = held(sampler)
    positives = numbered(offset=0.5)[0]
    assert sampler(None, None, positives) is positives
    assert sampler(["never bound"], None, positives[:1]) is not None
    assert held(sampler) == before


def test_begin_epoch_works_in_eval_mode():
    sampler = sampler_of(ClusteringSampling(3, 1))
    sampler.begin_epoch(1)
    sampler(IDS, references(), numbered()[0])
    sampler.eval()
    sampler.begin_epoch(2)
    assert (sampler.clusters() >= 0).all()
    sampler.train()
    sampler(IDS, references(), numbered()[0])
    assert sampler.metrics()["coverage"] > 0


def test_begin_epoch_of_none_does_nothing():
    unbound = PositiveSampler(NearestNeighborSampling(1), 4, DIM, 1, 2)
    unbound.begin_epoch(None)
    sampler = filled(sampler_of())
    sampler.begin_epoch(None)
    assert sampler.epoch == 2


def test_an_epoch_that_has_begun_is_not_clustered_again(monkeypatch):
    strategy = ClusteringSampling(3, 1)
    epochs, prepare = [], strategy.prepare

    def counted(bank, queue, seed, epoch):
        epochs.append(epoch)
        prepare(bank, queue, seed, epoch)

    monkeypatch.setattr(strategy, "prepare", counted)
    sampler = sampler_of(strategy)
    filled(sampler)
    sampler(IDS, references(), numbered()[0])
    counts = sampler.metrics()
    sampler.begin_epoch(2)
    assert sampler.metrics() == counts
    sampler.begin_epoch(3)
    assert epochs == [2, 3]
    assert sampler.metrics()["coverage"] == 0.0  # counted anew


def test_reset_lets_a_second_fit_repeat_the_first():
    def fit(sampler):
        filled(sampler)
        sampler.begin_epoch(3)
        return sampler(IDS, references(), numbered()[0])

    sampler = sampler_of(ClusteringSampling(3, 1))
    first = fit(sampler)
    sampler.reset()
    assert sampler.epoch is None
    assert held(sampler) == {}
    assert not sampler.bank.seen.any()
    assert torch.equal(fit(sampler), first)


def test_warm_start_fills_as_the_filling_epoch_does():
    warm, trained = (sampler_of(ClusteringSampling(3, 1)) for _ in range(2))
    batches = [
        (IDS[:7], references()[:7], numbered()[0, :7]),
        (torch.arange(7, NUM), references()[7:], numbered()[0, 7:]),
    ]
    warm.eval().warm_start(batches)
    warm.train()
    trained.begin_epoch(1)
    for batch in batches:
        trained(*batch)
    for sampler in (warm, trained):
        sampler.begin_epoch(2)
    drawn = [s(IDS, references(), numbered()[0]) for s in (warm, trained)]
    assert torch.equal(drawn[0], drawn[1])
    assert warm.metrics() == trained.metrics()


def test_the_figures_are_those_counted_by_hand():
    sampler = sampler_of(ClusteringSampling(3, 1), queue_size=16)
    sampler.begin_epoch(1)
    sampler(IDS[:8], references()[:8], numbered()[0, :8])
    figures = sampler.metrics()
    assert figures["queue_fill"] == 8 / 16
    assert figures["seen"] == pytest.approx(8 / NUM)
    assert figures["coverage"] == 0.0
    sampler.begin_epoch(2)
    sampler(IDS, references(), numbered()[0])
    figures = sampler.metrics()
    assert figures["queue_fill"] == NUM / 16
    assert figures["seen"] == 1.0
    covered = (sampler.last_draw[1] >= 0).sum()
    assert figures["coverage"] == pytest.approx(int(covered) / NUM)
    sizes = sorted(sampler.clusters()[:8].bincount(minlength=3).tolist())
    assert figures["cluster_size_min"] == sizes[0]
    assert figures["cluster_size_median"] == sizes[1]
    assert figures["cluster_size_max"] == sizes[2]


def test_a_dataset_is_bound_by_its_ids_and_its_pipeline_is_left_alone():
    def touched(name):
        raise AssertionError("bind must not run the pipeline")

    dataset = DynamicItemDataset({name: {"name": name} for name in IDS})
    dataset.add_dynamic_item(touched, takes="name", provides="sig")
    dataset.set_output_keys(["id", "sig"])
    by_dataset = PositiveSampler(NearestNeighborSampling(1), NUM, DIM, 1, 2)
    by_dataset.bind(dataset)
    filled(by_dataset)
    drawn = by_dataset(IDS, references(), numbered()[0])
    assert drawn.flatten().tolist() == nearest_other().tolist()


def test_a_filtered_dataset_is_bound_in_its_own_order():
    dataset = DynamicItemDataset(
        {name: {"length": -place} for place, name in enumerate(IDS)}
    )
    chosen = dataset.filtered_sorted(
        sort_key="length", key_max_value={"length": -9}
    )
    sampler = PositiveSampler(NearestNeighborSampling(1), NUM, DIM, 1, 2)
    sampler.bind(chosen)
    assert len(sampler.clusters()) == 3
    sampler.begin_epoch(1)
    sampler(["utterance11"], references()[:1], torch.tensor([[7.0]]))
    assert held(sampler) == {0: [7.0]}  # -11 comes first
    with pytest.raises(ValueError, match="never bound"):
        sampler(["utterance8"], references()[:1], torch.tensor([[7.0]]))


def test_binding_the_same_utterances_again_forgets_nothing():
    sampler = filled(sampler_of())
    sampler.bind(tuple(IDS))
    assert len(held(sampler)) == NUM


def test_it_has_no_parameters():
    assert list(filled(sampler_of()).parameters()) == []
