"""Sums over two ranks, and shares of what both hold."""

import pytest
import torch

from ssps_plugin.distributed import (
    log_sum_exp_over_ranks,
    mean_over_ranks,
    share_of_rank,
    sum_over_ranks,
    sum_over_ranks_with_gradient,
)

VALUES = torch.tensor([[-900.0, 0.0, 1.0, 700.0], [-901.0, 2.0, 1.0, -50.0]])


def reduced(rank):
    # A transposed tensor is not contiguous.
    own = VALUES.view(2, 2, 2)[rank].T.requires_grad_()
    before = own.detach().clone()
    results = [sum_over_ranks(own), log_sum_exp_over_ranks(own)]
    assert torch.equal(own.detach(), before)
    assert not any(result.requires_grad for result in results)
    on_one_rank_only = torch.tensor([-torch.inf, 3.0][rank])
    held = torch.arange(10).view(2, 5)
    return (
        *[result.T.flatten().tolist() for result in results],
        log_sum_exp_over_ranks(on_one_rank_only).item(),
        mean_over_ranks([0.1, 0.4][rank], "cpu"),
        share_of_rank(held, dim=1).tolist(),
        tuple(share_of_rank(held[:, :0], dim=1).shape),
    )


def test_sums_are_over_the_ranks_and_shares_make_up_the_whole(run_ranks):
    results = run_ranks(reduced)
    for total, log_sum, on_one_rank_only, mean, _, of_nothing in results:
        assert total == VALUES.sum(0).tolist()
        expected = VALUES.double().logsumexp(0).tolist()
        assert log_sum == pytest.approx(expected, rel=1e-6)
        assert on_one_rank_only == 3.0
        assert of_nothing == (2, 0)
        assert mean == 0.25
    assert results[0][4] == [[0, 1, 2], [5, 6, 7]]
    assert results[1][4] == [[3, 4], [8, 9]]


def summed_with_gradient(rank):
    own = VALUES.view(2, 2, 2)[rank].T.requires_grad_()
    total = sum_over_ranks_with_gradient(own)
    # Each rank's loss weighs the sum by another number.
    (total * (1 + rank) * torch.arange(4.0).view(2, 2)).sum().backward()
    return total.detach().T.flatten().tolist(), own.grad.tolist()


def test_a_sum_gives_every_rank_the_gradients_of_all(run_ranks):
    for total, gradient in run_ranks(summed_with_gradient):
        assert total == VALUES.sum(0).tolist()
        assert gradient == [[0.0, 3.0], [6.0, 9.0]]


def test_one_process_has_all_of_it():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    for function in (sum_over_ranks, log_sum_exp_over_ranks):
        assert torch.equal(function(values), values)
        assert not function(values).requires_grad
    assert share_of_rank(values) is values
    assert sum_over_ranks_with_gradient(values) is values
    assert mean_over_ranks(0.1, "cpu") == 0.1
