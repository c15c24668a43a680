"""Margins with a running state, on two ranks against one."""

import itertools

import pytest
import torch

from ssps_plugin import NTXentLoss
from ssps_plugin.losses import (
    AdaptiveMargin,
    AdditiveMargin,
    CurricularMargin,
    MoCoLoss,
    NegativeQueue,
)

MARGINS = {
    "adaptive": lambda: AdaptiveMargin(momentum=0.5),
    "additive": AdditiveMargin,
    "curricular": lambda: CurricularMargin(momentum=0.5),
}


def joint(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(2, 8, 5, generator=generator)


def moco_loss(anchors, positives, margin):
    negatives = NegativeQueue(8, 5).eval()
    negatives.keys += torch.nn.functional.normalize(joint(9), dim=-1)
    negatives.is_filled.fill_(True)
    queries = torch.stack([anchors, positives])
    return MoCoLoss(0.1)(queries, queries.flip(0), negatives, margin=margin)


def train(loss, name, rows_of_step):
    margin = MARGINS[name]()
    function = NTXentLoss(0.1) if loss == "nt_xent" else moco_loss
    losses, gradients = [], []
    for step in range(3):
        views = joint(step)[:, rows_of_step(step)].requires_grad_()
        value = function(*views, margin=margin)
        value.backward()
        losses.append(value.item())
        gradients.append(views.grad)
    state = {name: buffer.item() for name, buffer in margin.named_buffers()}
    return losses, [part.tolist() for part in gradients], state


CASES = list(itertools.product(["nt_xent", "moco"], MARGINS))


def on_a_rank(rank):
    def rows_of_step(step):
        size = (4, 3, 7)[step]
        return slice(size) if rank == 0 else slice(size, None)

    return [train(*case, rows_of_step) for case in CASES]


def test_ranks_share_loss_gradients_and_state_with_the_joint_batch(run_ranks):
    for case, first, second in zip(CASES, *run_ranks(on_a_rank), strict=True):
        assert_alike(first, second, *train(*case, lambda step: slice(None)))


def assert_alike(first, second, losses, gradients, state):
    assert first[2] == second[2]
    assert first[2] == pytest.approx(state, rel=1e-5)
    for step in range(3):
        mean = (first[0][step] + second[0][step]) / 2
        assert mean == pytest.approx(losses[step], rel=1e-5)
        parts = [torch.tensor(rank[1][step]) / 2 for rank in (first, second)]
        torch.testing.assert_close(
            torch.cat(parts, dim=1),
            torch.tensor(gradients[step]),
            atol=1e-4,
            rtol=1e-3,
        )
