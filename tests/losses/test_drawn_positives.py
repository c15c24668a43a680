"""Every loss on positives that the sampler draws, against drawing by hand."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    NearestNeighborSampling,
    NTXentLoss,
    PositiveSampler,
    PositiveSamplingLoss,
    SwAVLoss,
    VICRegLoss,
)
from ssps_plugin.heads import Prototypes
from ssps_plugin.losses import FeatureQueue

DIM = 5
IDS = ["a", "b", "c", "d"]
REFERENCES = F.normalize(
    torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), dim=1
)
NEAREST = [1, 0, 3, 2]


def swav_operands():
    torch.manual_seed(0)
    queue = FeatureQueue(8, DIM)
    queue.update_anchors(features(3)[0])
    queue.update(features(3)[1])
    return {"prototypes": Prototypes(DIM, 3), "queue": queue}


LOSSES = {
    "nt_xent": (NTXentLoss, dict),
    "vicreg": (VICRegLoss, dict),
    "swav": (SwAVLoss, swav_operands),
}


def features(seed):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(2, 4, DIM, generator=generator), dim=-1)


@pytest.mark.parametrize("name", LOSSES)
def test_a_drawn_positive_is_the_remembered_one_without_gradient(name):
    make_loss, make_operands = LOSSES[name]
    loss, operands = make_loss(), make_operands()
    sampler = PositiveSampler(NearestNeighborSampling(1), 4, 2, DIM, 2)
    sampler.bind(IDS)
    sampling = PositiveSamplingLoss(loss, sampler)
    before, now = features(1), features(2).requires_grad_()

    sampler.begin_epoch(1)
    found = sampling(*before, ids=IDS, reference=REFERENCES, **operands)
    assert found == loss(*before, **operands)

    sampler.begin_epoch(2)
    found = sampling(*now, ids=IDS, reference=REFERENCES, **operands)
    expected = loss(now[0], before[1][NEAREST], **operands)
    assert found == expected != loss(*now, **operands)
    (gradient,) = torch.autograd.grad(found, now)
    (by_hand,) = torch.autograd.grad(expected, now)
    assert torch.equal(gradient, by_hand)
    assert gradient[0].abs().sum() > 0 and not gradient[1].any()
