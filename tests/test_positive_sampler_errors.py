"""Mistakes in the use of PositiveSampler, each with a clear message."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

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


@pytest.mark.parametrize(
    "epoch",
    [0, -1, True, False, 1.0, 2.5, "1", [1], 2**31, 10**30, torch.tensor(True)],
)
def test_what_is_no_epoch_is_refused(epoch):
    sampler = sampler_of()
    sampler.bind(IDS)
    with pytest.raises(
        ValueError, match="whole number from 1 on, got"
    ) as error:
        sampler.begin_epoch(epoch)
    assert repr(epoch) in str(error.value)
    assert sampler.epoch is None
    sampler.begin_epoch(1)


@pytest.mark.parametrize("epoch", [np.int64(1), torch.tensor(1)])
def test_an_integer_of_numpy_or_torch_is_an_epoch(epoch):
    sampler = begun(epoch)
    assert (sampler.epoch, type(sampler.epoch)) == (1, int)


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


def test_a_start_in_the_first_epoch_is_not_sent_to_an_epoch_zero():
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 1)
    sampler.bind(IDS)
    with pytest.raises(
        RuntimeError, match="change start_epoch to 2 or more"
    ) as (error):
        sampler.begin_epoch(1)
    assert "epoch 0" not in str(error.value)


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


def wrong_embeds():
    """References as a wrong embed gives them, and what is said of them."""
    return [
        (torch.ones(4, 3), "change reference_dim"),
        (torch.ones(3, 2), "embed one segment for each id"),
        (torch.ones(2), "change reference_dim"),
        ((torch.ones(4, 2), None), "reference as a torch.Tensor, got tuple"),
        (torch.ones(4, 2).long(), "floating point, got torch.int64"),
        (torch.ones(4, 2, device="meta"), "reference on cpu"),
    ]


@pytest.mark.parametrize(("reference", "message"), wrong_embeds())
def test_a_wrong_embed_is_found_in_the_first_step(reference, message):
    # As published: SSPS starts in epoch 101, after 99 epochs without it.
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 101)
    sampler.bind(IDS)
    sampler.begin_epoch(1)
    assert not sampler.remembering
    assert sampler.needs_reference
    positives = torch.ones(4, 3)
    with pytest.raises(ValueError, match=message):
        sampler(IDS, reference, positives)
    assert sampler.needs_reference
    # The right one is checked once, and changes nothing.
    before = {k: v.clone() for k, v in sampler.state_dict().items()}
    good = torch.eye(2).repeat(2, 1)
    assert sampler(IDS, good, positives) is positives
    assert not sampler.needs_reference
    after = sampler.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert sampler(IDS, None, positives) is positives


def test_the_first_step_of_a_resume_needs_a_reference_too():
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 101)
    sampler.bind(IDS)
    sampler.begin_epoch(1)
    sampler(IDS, torch.eye(2).repeat(2, 1), torch.ones(4, 3))
    sampler.begin_epoch(2)
    assert not sampler.needs_reference
    resumed = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 101)
    resumed.bind(IDS)
    resumed.load_state_dict(sampler.state_dict())
    assert resumed.needs_reference
    assert not resumed.eval().needs_reference


@pytest.mark.parametrize("bound", [False, True])
def test_what_was_not_called_is_found_in_the_first_step(bound):
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 101)
    if bound:
        sampler.bind(IDS)
    assert sampler.needs_reference  # so the recipe calls the sampler
    with pytest.raises(RuntimeError, match=r"sampler\.(bind|begin_epoch)\("):
        step(sampler)


def test_a_reference_without_ids_is_found_in_the_first_step():
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, 3, 101)
    sampler.bind(IDS)
    sampler.begin_epoch(1)
    with pytest.raises(ValueError, match=r"ids=batch\.id"):
        sampler(None, torch.ones(4, 2), torch.ones(4, 3))
    positives = torch.ones(4, 3)
    assert sampler(None, None, positives) is positives


def test_references_that_are_not_normalised_are_told_once(caplog):
    sampler = begun()
    for _ in range(2):
        step(sampler, reference=3 * torch.eye(2).repeat(2, 1))
    (record,) = caplog.records
    assert "L2-normalised references, got norms from 3 to 3" in record.message


def test_first_references_of_which_none_is_finite_are_told(caplog):
    step(begun(), reference=torch.full((4, 2), float("nan")))
    (record,) = caplog.records
    assert "None of the first 4 references is finite" in record.message


def test_a_batch_of_two_with_two_targets_is_read_targets_first(caplog):
    sampler = begun(num_targets=2)
    positives = torch.arange(12.0).view(2, 2, 3)
    for _ in range(2):
        sampler(["a", "b"], torch.eye(2), positives)
    (record,) = caplog.records
    assert "read as (num_targets, batch, positive_dim)" in record.message
    assert torch.equal(sampler.queue.positives[:, 2:], positives)


def test_the_batch_first_is_refused_where_it_shows():
    with pytest.raises(ValueError, match=r"positives\.transpose\(0, 1\)"):
        step(begun(num_targets=2), positives=torch.ones(4, 2, 3))


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


class Corpus(Dataset):
    """A dataset of torch's: a length, and items that take time to read."""

    def __init__(self, length=4):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        raise AssertionError("bind must not read the corpus")


def test_a_dataset_of_torchs_is_bound_by_positions_and_never_read():
    sampler = sampler_of()
    sampler.bind(Corpus())
    sampler.bind(range(4))  # the same
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        # As the default collate gives them, and as a list.
        step(sampler, ids=torch.tensor([2, 0, 1, 3]))
        step(sampler, ids=[2, 0, 1, 3])
    assert sampler.bank.seen.all()
    with pytest.raises(ValueError, match="such as 0, got 'a', which was never"):
        step(sampler)


def test_what_cannot_be_bound_leaves_the_sampler_as_it_was():
    sampler = begun()
    for wrong in (iter(IDS), "abcd", set(IDS), None, 0, Corpus(0), [IDS, IDS]):
        with pytest.raises(ValueError, match=r"Expected .*training set"):
            sampler.bind(wrong)
    step(sampler)
    assert len(sampler.clusters()) == 4


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
    with pytest.raises(ValueError, match=f"{name} of at least 1, got 0: "):
        PositiveSampler(NearestNeighborSampling(1), **sizes)


@pytest.mark.parametrize("value", [4.0, "4", True, None, [4]])
@pytest.mark.parametrize("name", ["queue_size", "start_epoch", "seed"])
def test_a_setting_that_is_no_whole_number_is_named(name, value):
    sizes = {"queue_size": 4, "reference_dim": 2, "positive_dim": 3}
    sizes = {**sizes, "start_epoch": 2, name: value}
    bound = "" if name == "seed" else " of at least 1"
    message = f"Expected {name}{bound}, a whole number"
    with pytest.raises(ValueError, match=message):
        PositiveSampler(NearestNeighborSampling(1), **sizes)


@pytest.mark.parametrize("value", ["2", True, None, 2.5])
def test_a_strategys_setting_that_is_no_whole_number_is_named(value):
    with pytest.raises(
        ValueError, match="Expected num_neighbors.*change num_n"
    ):
        NearestNeighborSampling(value)
    with pytest.raises(
        ValueError, match="Expected num_neighbors.*change num_n"
    ):
        ClusteringSampling(4, value)
    with pytest.raises(
        ValueError, match="Expected num_clusters.*change num_cl"
    ):
        ClusteringSampling(value, 1)


@pytest.mark.parametrize("value", ["0.5", True, None, float("nan")])
def test_a_strategys_setting_that_is_no_number_is_named(value):
    with pytest.raises(ValueError, match="Expected whitening .*change whiteni"):
        ClusteringSampling(4, 1, whitening=value)
    with pytest.raises(ValueError, match="Expected rank_decay .*change rank_d"):
        ClusteringSampling(4, 1, rank_decay=value)


def test_a_dtype_that_is_none():
    with pytest.raises(ValueError, match="Expected reference_dtype float32"):
        sampler_of(reference_dtype="float8")
