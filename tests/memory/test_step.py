"""A step's finite rows."""

import pytest
import torch

from ssps_plugin.memory import Step

NAN, INF = float("nan"), float("inf")


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
