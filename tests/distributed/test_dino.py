"""DINO on two ranks against the joint batch on one."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssps_plugin.losses import DINOCentering, DINOLoss

BATCH = 7


def joint():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, BATCH, 3, generator=generator)


def steps(rows, distributed):
    """Two steps of a linear student; losses, gradients, the centre."""
    torch.manual_seed(1)
    student = nn.Linear(3, 5)
    teacher = nn.Linear(3, 5).requires_grad_(False)
    model = DistributedDataParallel(student) if distributed else student
    centering, loss = DINOCentering(5, momentum=0.5), DINOLoss()
    found = []
    for scale in (1.0, 2.0):
        views = scale * joint()[:, rows]
        targets = teacher(views[:2])
        value = loss(model(views), targets, centering)
        student.zero_grad()
        value.backward()
        centering.update(targets)
        found.append(
            (
                value.item(),
                student.weight.grad.tolist(),
                centering.center.tolist(),
            )
        )
    return found


def on_a_rank(rank, first_size):
    rows = slice(first_size) if rank == 0 else slice(first_size, None)
    return steps(rows, distributed=True)


def test_the_centre_is_that_of_the_joint_batch_though_ranks_differ(run_ranks):
    expected = steps(slice(None), distributed=False)
    for found in run_ranks(on_a_rank, 3):
        for step in range(2):
            torch.testing.assert_close(
                torch.tensor(found[step][2]), torch.tensor(expected[step][2])
            )


@pytest.mark.parametrize("first_size", [3, 2])
def test_ranks_average_to_the_joint_loss_and_gradient(run_ranks, first_size):
    results = run_ranks(on_a_rank, first_size)
    expected = steps(slice(None), distributed=False)
    for step in range(2):
        losses = [found[step][0] for found in results]
        assert sum(losses) / 2 == pytest.approx(expected[step][0], rel=1e-5)
        for found in results:
            torch.testing.assert_close(
                torch.tensor(found[step][1]), torch.tensor(expected[step][1])
            )
