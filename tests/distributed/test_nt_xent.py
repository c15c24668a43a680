"""NT-Xent on two ranks against the joint batch on one."""

import pytest
import torch

from ssps_plugin import NTXentLoss

GROUPS = torch.tensor([0, 1, 0, 2, 1, 0, -1, -1])


def joint():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, len(GROUPS), 5, generator=generator)


def loss_and_gradients(views, groups):
    views = views.clone().requires_grad_()
    loss = NTXentLoss(0.1)(views[0], views[1], groups=groups)
    loss.backward()
    return loss.item(), views.grad.tolist()


def on_a_rank(rank, first_sizes, grouped):
    results = []
    for first_size in first_sizes:
        rows = slice(first_size) if rank == 0 else slice(first_size, None)
        groups = GROUPS[rows] if grouped else None
        results.append(loss_and_gradients(joint()[:, rows], groups))
    return results


@pytest.mark.parametrize("grouped", [False, True])
def test_ranks_average_to_loss_and_gradients_of_the_joint_batch(
    run_ranks, grouped
):
    results = run_ranks(on_a_rank, (4, 3, 7), grouped)
    loss, gradient = loss_and_gradients(joint(), GROUPS if grouped else None)
    for of_ranks in zip(*results, strict=True):
        losses, gradients = zip(*of_ranks, strict=True)
        assert sum(losses) / 2 == pytest.approx(loss, rel=1e-5)
        # DDP averages parameters' gradients over the ranks.
        parts = [torch.tensor(part) / 2 for part in gradients]
        torch.testing.assert_close(
            torch.cat(parts, dim=1),
            torch.tensor(gradient),
            atol=1e-5,
            rtol=1e-4,
        )
