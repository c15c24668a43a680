"""SDPN's loss on two ranks against the joint batch on one, a few steps long."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssps_plugin import SDPNLoss
from ssps_plugin.distributed import is_distributed
from ssps_plugin.heads import Prototypes

SIZES = (4, 3, 7)  # of the first rank's batches, of 8 in all


def joint(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randn(4, 8, 6, generator=generator)


def wrapped(module):
    return DistributedDataParallel(module) if is_distributed() else module


def train(rows_of_step):
    """A linear student with a head; the last view is the teacher's."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    prototypes = Prototypes(4, 6, frozen_epochs=0, weight_norm=True)
    loss = SDPNLoss(dimension_weight=0.5)
    modules = wrapped(Student(student)), wrapped(prototypes)
    parameters = [*student.parameters(), *prototypes.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    losses, gradients = [], []
    for number in range(len(SIZES)):
        views = joint(number)[:, rows_of_step(number)]
        anchors = modules[0](views[:3])
        positives = F.normalize(views[3:, :, :4], dim=-1)
        optimizer.zero_grad()
        value = loss(anchors, positives, modules[1])
        value.backward()
        losses.append(value.item())
        gradients.append([p.grad.clone().numpy() for p in parameters])
        optimizer.step()
    return losses, gradients, [p.detach().numpy() for p in parameters]


class Student(nn.Module):
    """Projections and embeddings, as `SDPN` returns them."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, views):
        embeddings = self.layers[0](views)
        both = self.layers[1](embeddings), embeddings
        return torch.cat([F.normalize(one, dim=-1) for one in both], dim=-1)


def on_a_rank(rank):
    def rows_of_step(number):
        size = SIZES[number]
        return slice(size) if rank == 0 else slice(size, None)

    return train(rows_of_step)


def assert_close(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(
            torch.tensor(ours), torch.tensor(theirs), atol=1e-6, rtol=1e-4
        )


def test_ranks_train_as_one_on_the_joint_batch(run_ranks):
    first, second = run_ranks(on_a_rank)
    losses, gradients, weights = train(lambda number: slice(None))
    averaged = [sum(pair) / 2 for pair in zip(first[0], second[0], strict=True)]
    assert averaged == pytest.approx(losses, rel=1e-5)
    for rank in (first, second):
        # Of the student and the prototypes, as DDP averages them.
        for found, expected in zip(rank[1], gradients, strict=True):
            assert_close(found, expected)
        assert_close(rank[2], weights)
