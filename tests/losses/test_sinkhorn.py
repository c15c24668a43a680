"""Sinkhorn-Knopp: its marginals, and a float64 loop."""

import pytest
import torch

from ssps_plugin.losses import sinkhorn_codes
from tests.losses.sinkhorn_loop import codes_by_loop


def scores(rows=12, num_prototypes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, num_prototypes, generator=generator) - 1


@pytest.mark.parametrize("num_iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("rows", [1, 3, 12])
def test_codes_equal_a_loop(rows, epsilon, num_iterations):
    given = scores(rows)
    found = sinkhorn_codes(given, epsilon, num_iterations)
    expected = codes_by_loop(given, epsilon, num_iterations)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_rows_sum_to_one_and_columns_to_equal_shares():
    codes = sinkhorn_codes(scores(), epsilon=0.1, num_iterations=200)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))
    torch.testing.assert_close(
        codes.sum(0), torch.full((4,), 3.0), atol=1e-3, rtol=0
    )
    assert (codes >= 0).all()


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_rows_sum_to_one_after_any_number_of_iterations(num_iterations):
    codes = sinkhorn_codes(scores(), 0.05, num_iterations)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))


def test_what_all_rows_like_best_is_shared_out():
    # Two prototypes; every row prefers the first, the last row least.
    table = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.6], [1.0, 0.7]])
    codes = sinkhorn_codes(table, epsilon=0.02, num_iterations=100)
    assert codes.argmax(1).tolist() == [0, 0, 1, 1]


def test_equal_scores_give_equal_codes():
    codes = sinkhorn_codes(torch.full((3, 5), 0.3), 0.05, 3)
    torch.testing.assert_close(codes, torch.full((3, 5), 0.2))


def test_a_constant_added_to_a_prototype_or_to_all_does_not_matter():
    given = scores()
    expected = sinkhorn_codes(given, 0.5, 3)
    shift = torch.tensor([0.0, 0.3, -0.2, 0.7])
    for shifted in (given + 0.4, given + shift):
        found = sinkhorn_codes(shifted, 0.5, 3)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_no_scale_overflows(scale):
    codes = sinkhorn_codes(scale * scores(), 0.001, 3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(12))


def test_leading_dimensions_are_problems_of_their_own():
    pair = torch.stack([scores(seed=1), scores(seed=2)])
    codes = sinkhorn_codes(pair, 0.05, 3)
    for found, given in zip(codes, pair, strict=True):
        torch.testing.assert_close(found, sinkhorn_codes(given, 0.05, 3))


def test_scores_are_left_as_they_were_and_get_no_gradient():
    given = scores().requires_grad_()
    before = given.detach().clone()
    assert not sinkhorn_codes(given, 0.05, 3).requires_grad
    assert torch.equal(given.detach(), before)


def test_half_precision_scores_give_float32_codes():
    given = scores().bfloat16()
    codes = sinkhorn_codes(given, 0.05, 3)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, sinkhorn_codes(given.float(), 0.05, 3))
