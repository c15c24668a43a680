"""What a step brings: its shapes, finite rows, and its checks."""

import pytest
import torch

from ssps_plugin.memory import (
    PositiveLayout,
    Step,
    UtteranceIndex,
    check_step,
)

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("num_targets", "shape"),
    [
        (1, (5, 3)),
        (1, (5, 1, 3)),
        (1, (1, 5, 3)),
        (2, (2, 5, 3)),
        (5, (5, 5, 3)),
    ],
)
def test_every_shape_comes_back_as_it_was(num_targets, shape):
    layout = PositiveLayout(num_targets, 3)
    positives = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    targets = layout.targets_first(positives, 5)
    assert targets.shape == (num_targets, 5, 3)
    assert torch.equal(layout.restore(targets, positives), positives)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 3)])
def test_a_row_is_the_positive_of_its_utterance(shape):
    positives = torch.arange(15.0).view(shape)
    targets = PositiveLayout(1, 3).targets_first(positives, 5)
    assert targets[0].tolist() == torch.arange(15.0).view(5, 3).tolist()


@pytest.mark.parametrize(
    ("num_targets", "shape"),
    [
        (1, (5, 4)),
        (1, (4, 3)),
        (1, (5, 2, 3)),
        (1, (3,)),
        (2, (5, 3)),
        (2, (1, 5, 3)),
        (2, (5, 2, 3)),
    ],
)
def test_another_shape_is_an_error_that_names_the_keys(num_targets, shape):
    with pytest.raises(ValueError, match="positive_dim and num_targets"):
        PositiveLayout(num_targets, 3).targets_first(torch.zeros(shape), 5)


def test_the_batch_first_is_an_error_that_says_how_to_turn_it():
    with pytest.raises(ValueError, match=r"positives\.transpose\(0, 1\), or"):
        PositiveLayout(2, 3).targets_first(torch.zeros(5, 2, 3), 5)


def test_as_many_utterances_as_targets_are_read_targets_first_and_told(caplog):
    layout = PositiveLayout(2, 3)
    positives = torch.arange(12.0).view(2, 2, 3)
    for _ in range(3):
        assert torch.equal(layout.targets_first(positives, 2), positives)
    (record,) = caplog.records  # once
    assert record.levelname == "WARNING"
    assert "(num_targets, batch, positive_dim)" in record.message
    assert "shape (2, 2, 3), of 2 utterances" in record.message
    assert "positives.transpose(0, 1)" in record.message


@pytest.mark.parametrize("num_targets", [1, 2])
def test_a_known_order_is_not_told_at_a_small_last_batch(num_targets, caplog):
    layout = PositiveLayout(num_targets, 3)
    layout.targets_first(torch.zeros(num_targets, 5, 3), 5)
    layout.targets_first(torch.zeros(num_targets, num_targets, 3), num_targets)
    assert not caplog.records


def test_integers_are_an_error():
    with pytest.raises(ValueError, match="floating point"):
        PositiveLayout(1, 3).targets_first(torch.zeros(5, 3).long(), 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.double])
def test_a_row_with_one_bad_number_is_not_finite(dtype):
    reference = torch.ones(7, 2)
    positives = torch.ones(2, 7, 3, dtype=dtype)
    reference[1, 0] = NAN
    reference[2, 1] = -INF
    positives[0, 3, 2] = INF
    positives[1, 4, 0] = NAN
    positives[0, 5, 0], positives[1, 5, 1] = INF, -INF
    step = Step(torch.arange(7), reference, positives)
    expected = [True, False, False, False, False, False, True]
    assert step.finite_rows().tolist() == expected


@pytest.mark.parametrize("where", [0, 1, 6])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_one_bad_number_in_a_large_step_is_found(where, bad):
    generator = torch.Generator().manual_seed(where)
    reference = torch.randn(7, 300, generator=generator)
    positives = torch.randn(2, 7, 500, generator=generator)
    step = Step(torch.arange(7), reference, positives)
    assert step.finite_rows().all()
    for tensor in (reference, positives[1]):
        kept = float(tensor[where, 299])
        tensor[where, 299] = bad
        step = Step(torch.arange(7), reference, positives)
        assert step.finite_rows().tolist() == [i != where for i in range(7)]
        tensor[where, 299] = kept


def test_rows_whose_joint_sum_overflows_are_finite():
    # Every row is finite, though a sum over all rows would overflow.
    reference = torch.full((4, 2), 1e38)
    step = Step(torch.arange(4), reference, torch.ones(1, 4, 3))
    assert step.finite_rows().tolist() == [True] * 4


def test_large_half_precision_positives_are_finite():
    positives = torch.full((1, 1, 100), 60000.0, dtype=torch.float16)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows().all()


def test_a_double_beyond_float32_is_not_finite():
    positives = torch.full((1, 1, 1), 1e300, dtype=torch.double)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows().tolist() == [False]


def test_a_reference_that_overflows_where_it_is_kept_is_not_finite():
    reference = torch.tensor([[1e5, 0.0], [1.0, 0.0]])
    step = Step(torch.arange(2), reference, torch.ones(1, 2, 3))
    assert step.finite_rows().tolist() == [True, True]
    assert step.finite_rows(torch.float16).tolist() == [False, True]
    assert step.finite_rows(torch.bfloat16).tolist() == [True, True]


def check(ids, reference, positives, reference_dim=2, num_targets=1):
    return check_step(
        ids,
        reference,
        positives,
        utterances=UtteranceIndex(["a", "b", "c"]),
        layout=PositiveLayout(num_targets, 3),
        reference_dim=reference_dim,
        device=CPU,
    )


def test_the_reference_comes_detached_in_float32():
    reference = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    step = check(["a", "c"], reference, torch.zeros(2, 3))
    assert step.index.tolist() == [0, 2]
    assert not step.reference.requires_grad
    assert step.reference.dtype == torch.float32


def test_a_reference_of_speechbrains_shape_is_accepted():
    reference = torch.arange(4.0).view(2, 1, 2)
    step = check(["a", "c"], reference, torch.zeros(2, 3))
    assert step.reference.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2, 2), (2,)])
def test_a_reference_of_another_shape_names_the_key(shape):
    with pytest.raises(
        ValueError, match="reference_dim of the PositiveSampler"
    ):
        check(["a", "c"], torch.zeros(shape), torch.zeros(2, 3))


def test_a_reference_of_another_batch_says_so():
    with pytest.raises(ValueError, match=r"got .*\(3, 2\): embed one segment"):
        check(["a", "c"], torch.zeros(3, 2), torch.zeros(2, 3))


def test_references_that_are_integers_are_an_error():
    with pytest.raises(ValueError, match="floating point, got torch.int64"):
        check(["a", "c"], torch.zeros(2, 2).long(), torch.zeros(2, 3))


@pytest.mark.parametrize("ids", [[], torch.zeros(0).long()])
def test_an_empty_batch_is_named(ids):
    with pytest.raises(ValueError, match="at least one utterance in a step"):
        check(ids, torch.zeros(0, 2), torch.zeros(0, 3))


def test_what_is_no_tensor_is_named():
    with pytest.raises(ValueError, match="reference as a torch.Tensor, got tu"):
        check(["a", "c"], (torch.zeros(2, 2), None), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="positives as a torch.Tensor, got li"):
        check(["a", "c"], torch.zeros(2, 2), [[0.0] * 3] * 2)


def test_no_reference_says_how_to_make_one():
    with pytest.raises(ValueError, match="reference_representation"):
        check(["a", "c"], None, torch.zeros(2, 3))


def test_another_device_is_named_for_what_is_on_it():
    there = torch.device("meta")
    reference, positives = torch.zeros(2, 2), torch.zeros(2, 3)
    with pytest.raises(
        ValueError, match="reference on cpu.* reference on meta"
    ):
        check(["a", "c"], reference.to(there), positives)
    with pytest.raises(
        ValueError, match="positives on cpu.* positives on meta"
    ):
        check(["a", "c"], reference, positives.to(there))
