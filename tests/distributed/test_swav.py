"""SwAV on two ranks against the joint batch on one, a few steps long."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssps_plugin import SwAVLoss
from ssps_plugin.distributed import is_distributed
from ssps_plugin.heads import Prototypes
from ssps_plugin.losses import FeatureQueue

SIZES = (4, 3, 7, 1)  # of the first rank's batches, of 8 in all


def joint(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randn(2, 8, 6, generator=generator)


def wrapped(module):
    return DistributedDataParallel(module) if is_distributed() else module


def train(rows_of_step):
    """An encoder, prototypes and a queue of 13 that wraps around."""
    torch.manual_seed(0)
    encoder, prototypes = nn.Linear(6, 5), Prototypes(5, 4)
    queue, loss = FeatureQueue(13, 5, start_epoch=2), SwAVLoss()
    modules = wrapped(encoder), wrapped(prototypes)
    parameters = [*encoder.parameters(), *prototypes.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    losses, gradients = [], []
    for number in range(len(SIZES)):
        for part in (prototypes, queue):
            part.begin_epoch(1 if number < 2 else 2)
        views = joint(number)[:, rows_of_step(number)]
        features = F.normalize(modules[0](views), dim=-1)
        # Positives of the third step are drawn.
        positives = features[1].detach() if number == 2 else features[1]
        optimizer.zero_grad()
        value = loss(features[0], positives, modules[1], queue)
        value.backward()
        queue.update_anchors(features[0].detach())
        queue.update(positives.detach())
        losses.append(value.item())
        gradients.append([p.grad.clone().numpy() for p in parameters])
        for parameter in prototypes.frozen_parameters():
            parameter.grad = None
        optimizer.step()
    weights = [p.detach().numpy() for p in parameters]
    return losses, gradients, weights, queue.features.numpy()


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
    losses, gradients, weights, features = train(lambda number: slice(None))
    averaged = [sum(pair) / 2 for pair in zip(first[0], second[0], strict=True)]
    assert averaged == pytest.approx(losses, rel=1e-5)
    for rank in (first, second):
        # Of the encoder and the prototypes, as DDP averages them.
        for found, expected in zip(rank[1], gradients, strict=True):
            assert_close(found, expected)
        assert_close(rank[2], weights)
        assert_close([rank[3]], [features])
