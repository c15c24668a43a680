"""CurricularFace's margin, its running t, and a resume of it."""

import math

import pytest
import torch

from ssps_plugin import NTXentLoss
from ssps_plugin.losses import CurricularMargin


def test_t_is_a_running_mean_of_the_targets():
    margin = CurricularMargin(0.2, momentum=0.9)
    t = 0.0
    for step in range(4):
        targets = torch.tensor([[0.1 * step], [0.5]])
        margin(targets, torch.zeros(2, 3), norms=targets)
        t = 0.9 * t + 0.1 * (0.1 * step + 0.5) / 2
        assert float(margin.t) == pytest.approx(t, rel=1e-6)
    assert margin.figures() == {"curricular_t": float(margin.t)}


def test_negatives_beyond_the_widened_target_are_weighed_by_t():
    margin = CurricularMargin(0.5, momentum=0.0)
    targets = torch.tensor([[0.8], [0.4]])  # t = 0.6
    others = torch.tensor([[0.5, 0.3, -0.9], [0.5, 0.3, -0.9]])
    wider, weighed = margin(targets, others, norms=targets)
    by_hand = [math.cos(math.acos(0.8) + 0.5), math.cos(math.acos(0.4) + 0.5)]
    assert wider.flatten().tolist() == pytest.approx(by_hand, rel=1e-5)
    # 0.414 and -0.089: only the first 0.3 and what is below stay.
    assert weighed.tolist() == [
        pytest.approx([0.5 * 1.1, 0.3, -0.9], rel=1e-5),
        pytest.approx([0.5 * 1.1, 0.3 * 0.9, -0.9], rel=1e-5),
    ]


def test_gradients_are_those_of_the_formula():
    margin = CurricularMargin(0.5, momentum=0.0)
    targets = torch.tensor([[0.6]], requires_grad=True)
    others = torch.tensor([[0.5, -0.9]], requires_grad=True)
    wider, weighed = margin(targets, others, norms=targets)
    (wider.sum() + weighed.sum()).backward()
    # d/dc c (t + c) with t = 0.6 held fixed; d/dc cos(acos(c) + m).
    assert others.grad.tolist()[0] == pytest.approx([0.6 + 1.0, 1.0])
    slope = math.sin(math.acos(0.6) + 0.5) / 0.8
    assert targets.grad.item() == pytest.approx(slope, rel=1e-5)


def test_cosines_that_are_not_finite_are_left_out():
    margin = CurricularMargin(momentum=0.5)
    targets = torch.tensor([[0.8], [float("nan")], [0.4]])
    margin(targets, torch.zeros(3, 2), norms=targets)
    assert float(margin.t) == pytest.approx(0.3)
    margin(targets[1:2], torch.zeros(1, 2), norms=targets[1:2])
    assert float(margin.t) == pytest.approx(0.3)


def test_evaluation_moves_no_t():
    margin = CurricularMargin().eval()
    margin(torch.ones(2, 1), torch.ones(2, 3), torch.ones(2, 1))
    assert margin.t == 0


def test_a_resume_goes_on_with_the_same_t():
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(6, 2, 5, 4, generator=generator)
    loss = NTXentLoss(0.1)

    def losses(margin, steps):
        return [loss(*views[step], margin=margin).item() for step in steps]

    whole, first, resumed = (CurricularMargin() for _ in range(3))
    expected = losses(whole, range(6))
    losses(first, range(3))
    resumed.load_state_dict(first.state_dict())
    assert losses(resumed, range(3, 6)) == expected[3:]
    assert losses(CurricularMargin(), range(3, 6)) != expected[3:]


def test_backward_may_come_after_t_has_moved_on():
    margin = CurricularMargin()
    others = torch.full((1, 2), 0.9, requires_grad=True)
    targets = torch.full((1, 1), 0.3)
    _, weighed = margin(targets, others, norms=targets)
    margin(targets, others, norms=targets)
    weighed.sum().backward()
    assert others.grad.isfinite().all()


def test_values_out_of_range_are_an_error():
    with pytest.raises(ValueError, match="margin must be between 0"):
        CurricularMargin(-0.1)
    with pytest.raises(ValueError, match="momentum must be between 0"):
        CurricularMargin(momentum=1.1)
