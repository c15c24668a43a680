"""A step's finite rows, and its checks."""

import pytest
import torch

from ssps_plugin.memory import PositiveLayout, Step, StepCheck, UtteranceIndex

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


def check(reference_dim=2, num_targets=1):
    utterances = UtteranceIndex(["a", "b", "c"])
    return StepCheck(utterances, PositiveLayout(num_targets, 3), reference_dim)


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
    assert Step(torch.arange(7), reference, positives).finite_rows() is None
    for tensor in (reference, positives[1]):
        kept = float(tensor[where, 299])
        tensor[where, 299] = bad
        step = Step(torch.arange(7), reference, positives)
        assert step.finite_rows().tolist() == [i != where for i in range(7)]
        tensor[where, 299] = kept


def test_an_overflow_over_all_rows_drops_none_of_them():
    # The sum over all rows overflows, so that the rows are looked at.
    reference = torch.full((4, 2), 1e38)
    step = Step(torch.arange(4), reference, torch.ones(1, 4, 3))
    assert step.finite_rows().tolist() == [True] * 4


def test_large_half_precision_positives_are_finite():
    positives = torch.full((1, 1, 100), 60000.0, dtype=torch.float16)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows() is None


def test_a_double_beyond_float32_is_not_remembered():
    positives = torch.full((1, 1, 1), 1e300, dtype=torch.double)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows().tolist() == [False]


def test_the_reference_comes_detached_in_float32():
    reference = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    step = check()(["a", "c"], reference, torch.zeros(2, 3), CPU)
    assert step.index.tolist() == [0, 2]
    assert not step.reference.requires_grad
    assert step.reference.dtype == torch.float32


def test_a_reference_of_speechbrains_shape_is_accepted():
    reference = torch.arange(4.0).view(2, 1, 2)
    step = check()(["a", "c"], reference, torch.zeros(2, 3), CPU)
    assert step.reference.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2, 2), (2,)])
def test_a_reference_of_another_shape_names_the_key(shape):
    with pytest.raises(
        ValueError, match="reference_dim of the PositiveSampler"
    ):
        check()(["a", "c"], torch.zeros(shape), torch.zeros(2, 3), CPU)


def test_no_reference_says_how_to_make_one():
    with pytest.raises(ValueError, match="reference_representation"):
        check()(["a", "c"], None, torch.zeros(2, 3), CPU)


def test_another_device_is_named_for_what_is_on_it():
    there = torch.device("meta")
    reference, positives = torch.zeros(2, 2), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="reference is on meta"):
        check()(["a", "c"], reference.to(there), positives, CPU)
    with pytest.raises(ValueError, match="positives is on meta"):
        check()(["a", "c"], reference, positives.to(there), CPU)
