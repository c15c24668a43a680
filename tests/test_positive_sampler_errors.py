"""Mistakes in the use of PositiveSampler, each with a clear message."""

import pytest
import torch

from ssps_plugin import (
    ClusteringSampling,
    NearestNeighborSampling,
    PositiveSampler,
)

IDS = ["a", "b", "c", "d"]


def sampler_of(queue_size=4, strategy=None, **options):
    strategy = strategy or NearestNeighborSampling(1)
    return PositiveSampler(strategy, queue_size, 2, 3, 2, **options)


def begun(epoch=1, **options):
    sampler = sampler_of(**options)
    sampler.bind(IDS)
    sampler.begin_epoch(epoch)
    return sampler


def step(sampler, ids=IDS, reference=None, positives=None):
    reference = torch.eye(2).repeat(2, 1) if reference is None else reference
    positives = torch.ones(len(ids), 3) if positives is None else positives
    return sampler(ids, reference[: len(ids)], positives)


def test_training_without_bind():
    with pytest.raises(RuntimeError, match=r"never bound: .* sampler\.bind"):
        step(sampler_of())


def test_beginning_an_epoch_without_bind():
    with pytest.raises(RuntimeError, match=r"sampler\.bind\(train_data\)"):
        sampler_of().begin_epoch(1)


def test_warm_start_without_bind():
    with pytest.raises(RuntimeError, match=r"sampler\.bind"):
        sampler_of().warm_start([])


def test_training_without_begin_epoch():
    sampler = sampler_of()
    sampler.bind(IDS)
    with pytest.raises(RuntimeError, match=r"begin_epoch was never called"):
        step(sampler)


def test_an_epoch_that_goes_backwards_names_reset():
    sampler = begun(epoch=1)
    step(sampler)
    sampler.begin_epoch(3)
    with pytest.raises(RuntimeError, match=r"Epoch 2 .* epoch 3.*reset\(\)"):
        sampler.begin_epoch(2)
    assert sampler.epoch == 3


def test_starting_with_empty_memories_names_warm_start():
    sampler = sampler_of()
    sampler.bind(IDS)
    with pytest.raises(
        RuntimeError, match=r"nothing is remembered.*warm_start"
    ):
        sampler.begin_epoch(2)
    sampler.begin_epoch(1)  # what the message says to do works
    step(sampler)
    sampler.begin_epoch(2)
    step(sampler)


def test_an_id_never_bound():
    with pytest.raises(ValueError, match="got 'x', which was never bound"):
        step(begun(), ids=["a", "x"])


def test_a_position_never_bound():
    with pytest.raises(ValueError, match="got 4, which was never bound"):
        step(begun(), ids=torch.tensor([0, 4]))


def test_no_ids_in_training():
    with pytest.raises(ValueError, match=r"ids=batch\.id"):
        begun()(None, torch.eye(2), torch.ones(2, 3))


def test_no_reference_once_it_is_needed():
    with pytest.raises(ValueError, match="reference_representation"):
        begun()(IDS, None, torch.ones(4, 3))


def test_a_reference_of_another_dimension():
    with pytest.raises(ValueError, match="change reference_dim"):
        step(begun(), reference=torch.ones(4, 3))


@pytest.mark.parametrize("shape", [(4, 2), (3, 3), (2, 4, 3), (4, 2, 3)])
def test_positives_of_another_shape(shape):
    with pytest.raises(ValueError, match="change positive_dim and num_targets"):
        step(begun(), positives=torch.ones(shape))


def test_a_reference_on_another_device():
    reference = torch.ones(4, 2, device="meta")
    with pytest.raises(
        ValueError, match="reference on cpu.* reference on meta"
    ):
        step(begun(), reference=reference)


def test_positives_on_another_device():
    positives = torch.ones(4, 3, device="meta")
    with pytest.raises(
        ValueError, match="positives on cpu.* positives on meta"
    ):
        step(begun(), positives=positives)


def test_a_batch_larger_than_the_queue_writes_nothing():
    sampler = begun(queue_size=3)
    with pytest.raises(ValueError, match=r"brings 4 .* queue_size is 3"):
        step(sampler)
    assert not sampler.bank.seen.any()
    assert sampler.queue.num_filled() == 0
    step(sampler, ids=IDS[:3])  # as large as the queue
    assert sampler.queue.num_filled() == 3


def test_more_clusters_than_utterances_is_told_when_binding():
    sampler = sampler_of(strategy=ClusteringSampling(5, 1))
    with pytest.raises(
        ValueError, match=r"num_clusters \(5\) utter.* got 4: lower"
    ):
        sampler.bind(IDS)


def test_more_clusters_than_seen_utterances_is_told_at_the_epochs_start():
    sampler = begun(strategy=ClusteringSampling(3, 1))
    step(sampler, ids=IDS[:2])
    with pytest.raises(ValueError, match="utterances seen so far, got 2"):
        sampler.begin_epoch(2)
    assert sampler.epoch == 1  # the epoch has not begun


def test_binding_other_utterances_in_use_names_reset():
    sampler = begun()
    with pytest.raises(RuntimeError, match=r"\(4, now 2\).*reset\(\)"):
        sampler.bind(["a", "b"])
    sampler.reset()
    sampler.bind(["a", "b"])
    assert len(sampler.clusters()) == 2


def test_an_id_bound_twice():
    with pytest.raises(ValueError, match="every utterance id once"):
        sampler_of().bind(["a", "b", "a"])


def test_an_empty_training_set():
    with pytest.raises(ValueError, match="training set is empty"):
        sampler_of().bind([])


@pytest.mark.parametrize(
    "name",
    [
        "queue_size",
        "reference_dim",
        "positive_dim",
        "start_epoch",
        "num_targets",
    ],
)
def test_a_number_below_one_is_named(name):
    sizes = {
        "queue_size": 4,
        "reference_dim": 2,
        "positive_dim": 3,
        "start_epoch": 2,
        name: 0,
    }
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        PositiveSampler(NearestNeighborSampling(1), **sizes)


def test_a_dtype_that_is_none():
    with pytest.raises(ValueError, match="Expected reference_dtype float32"):
        sampler_of(reference_dtype="float8")
