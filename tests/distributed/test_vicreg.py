"""VICReg on two ranks against the joint batch on one."""

import pytest
import torch

from ssps_plugin import VICRegLoss

BATCH = 8


def joint():
    generator = torch.Generator().manual_seed(0)
    return 0.7 * torch.randn(2, BATCH, 5, generator=generator)


def loss_and_gradients(rows):
    views = joint()[:, rows].clone().requires_grad_()
    # Row 2 of the positives is drawn: it carries no gradient.
    drawn = torch.arange(BATCH)[rows, None] == 2
    positives = torch.where(drawn, views[1].detach(), views[1])
    loss = VICRegLoss()(views[0], positives)
    loss.backward()
    return loss.item(), views.grad.tolist()


def on_a_rank(rank, first_sizes):
    results = []
    for first_size in first_sizes:
        rows = slice(first_size) if rank == 0 else slice(first_size, None)
        results.append(loss_and_gradients(rows))
    return results


def test_ranks_have_the_loss_and_average_to_the_gradients_of_the_joint_batch(
    run_ranks,
):
    # A rank of one utterance has no variance of its own.
    results = run_ranks(on_a_rank, (4, 3, 7))
    loss, gradient = loss_and_gradients(slice(None))
    for of_ranks in zip(*results, strict=True):
        losses, gradients = zip(*of_ranks, strict=True)
        assert losses == pytest.approx([loss, loss], rel=1e-5)
        # DDP averages parameters' gradients over the ranks.
        parts = [torch.tensor(part) / 2 for part in gradients]
        torch.testing.assert_close(
            torch.cat(parts, dim=1),
            torch.tensor(gradient),
            atol=1e-6,
            rtol=1e-4,
        )
