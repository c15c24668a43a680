"""AdaFace's margin against its formula, and its running statistics."""

import math

import pytest
import torch

from ssps_plugin import NTXentLoss
from ssps_plugin.losses import AdaptiveMargin

NORMS = [[1.0], [2.0], [3.0], [6.0]]


def by_hand(cosine, norm, mean, deviation, m, h):
    quality = min(max((norm - mean) / (deviation + 1e-3) * h, -1), 1)
    theta = min(max(math.acos(cosine) - m * quality, 0), math.pi)
    return math.cos(theta) - (m * quality + m)


@pytest.mark.parametrize("cosine", [-0.99, -0.5, 0.0, 0.7, 0.99])
@pytest.mark.parametrize(("m", "h"), [(0.4, 0.333), (0.2, 1.0), (0.0, 1.0)])
def test_the_norm_chooses_between_angle_and_cosine(cosine, m, h):
    margin = AdaptiveMargin(m, h)
    norms = torch.tensor(NORMS)
    targets = torch.full((4, 1), cosine)
    others = torch.zeros(4, 2)
    found, same = margin(targets, others, norms)
    assert same is others
    mean, deviation = norms.mean().item(), norms.std().item()
    expected = [
        by_hand(cosine, norm, mean, deviation, m, h) for (norm,) in NORMS
    ]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_statistics_start_with_the_first_step_and_then_run():
    margin = AdaptiveMargin(momentum=0.9)
    steps = [torch.tensor(NORMS), 3 * torch.tensor(NORMS)]
    for norms in steps:
        margin(torch.zeros(4, 1), torch.zeros(4, 2), norms)
    mean = 0.9 * steps[0].mean() + 0.1 * steps[1].mean()
    deviation = 0.9 * steps[0].std() + 0.1 * steps[1].std()
    assert margin.figures() == {
        "norm_mean": pytest.approx(mean.item()),
        "norm_deviation": pytest.approx(deviation.item()),
    }


def test_norms_that_are_not_finite_are_left_out():
    margin, expected = AdaptiveMargin(), AdaptiveMargin()
    targets, others = torch.zeros(4, 1), torch.zeros(4, 2)
    nothing = torch.full((4, 1), float("nan"))
    margin(targets, others, nothing)  # the next step is still the first
    spoilt = torch.tensor([*NORMS[:2], [float("inf")], NORMS[3]])
    margin(targets, others, spoilt)
    expected(targets[:3], others[:3], torch.tensor([*NORMS[:2], NORMS[3]]))
    assert margin.figures() == pytest.approx(expected.figures())
    margin(targets, others, nothing)
    assert margin.figures() == pytest.approx(expected.figures())


def test_evaluation_moves_no_statistics():
    margin = AdaptiveMargin().eval()
    margin(torch.zeros(4, 1), torch.zeros(4, 2), torch.tensor(NORMS))
    assert margin.figures() == {"norm_mean": 0.0, "norm_deviation": 1.0}


def test_norms_take_no_gradient():
    margin = AdaptiveMargin()
    norms = torch.tensor(NORMS, requires_grad=True)
    targets = torch.zeros(4, 1, requires_grad=True)
    found, _ = margin(targets, torch.zeros(4, 2), norms)
    found.sum().backward()
    assert norms.grad is None and (targets.grad > 0).all()


def test_nt_xent_gives_every_view_its_own_norm():
    seen = []

    class Spy(AdaptiveMargin):
        def forward(self, targets, others, norms):
            seen.append((targets, norms))
            return super().forward(targets, others, norms)

    anchors = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    positives = torch.tensor([[0.0, 3.0], [0.0, 4.0]])
    NTXentLoss()(anchors, positives, margin=Spy())
    ((targets, norms),) = seen
    assert norms.flatten().tolist() == [1.0, 3.0, 2.0, 4.0]
    assert targets.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_single_view_of_norm_zero_stays_finite():
    margin = AdaptiveMargin()
    found, _ = margin(torch.zeros(1, 1), torch.zeros(1, 2), torch.zeros(1, 1))
    assert found.isfinite().all()


def test_values_out_of_range_are_an_error():
    with pytest.raises(ValueError, match="margin must be between 0"):
        AdaptiveMargin(-0.1)
    with pytest.raises(ValueError, match="concentration must be > 0"):
        AdaptiveMargin(concentration=0.0)
    with pytest.raises(ValueError, match="momentum must be between 0"):
        AdaptiveMargin(momentum=-0.1)
