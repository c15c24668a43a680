"""ArcFace's and SphereFace's margins against angles in float64."""

import math

import pytest
import torch

from ssps_plugin.losses import (
    AdditiveAngularMargin,
    MultiplicativeAngularMargin,
)

COSINES = torch.linspace(-1, 1, 401)[:, None]
OTHERS = torch.zeros(401, 2)


def applied(margin, cosines=COSINES):
    targets, others = margin(cosines, OTHERS, norms=cosines)
    assert others is OTHERS
    return targets


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, 1.5])
def test_the_angle_grows_by_the_margin(margin):
    theta = COSINES.double().acos()
    beyond = theta + margin > math.pi
    expected = torch.where(
        beyond,
        COSINES.double() - margin * math.sin(margin),
        (theta + margin).cos(),
    )
    found = applied(AdditiveAngularMargin(margin)).double()
    inside = COSINES.abs() < 1  # at the ends the sine is kept from 0
    assert torch.allclose(found[inside], expected[inside], atol=2e-6)
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4])
def test_the_angle_is_multiplied_piece_by_piece(factor):
    expected = []
    for cosine in COSINES.double().flatten().tolist():
        theta = factor * math.acos(cosine)
        turns = min(math.floor(theta / math.pi), math.ceil(factor) - 1)
        expected.append((-1) ** turns * math.cos(theta) - 2 * turns)
    found = applied(MultiplicativeAngularMargin(factor)).double().flatten()
    assert torch.allclose(found, torch.tensor(expected).double(), atol=2e-3)


@pytest.mark.parametrize(
    "margin", [AdditiveAngularMargin(0.3), MultiplicativeAngularMargin(3)]
)
def test_a_nearer_positive_is_never_worse(margin):
    targets = applied(margin).flatten()
    assert (targets.diff() > -1e-5).all()
    assert (targets <= COSINES.flatten() + 1e-3).all()


@pytest.mark.parametrize(
    "margin", [AdditiveAngularMargin(0.3), MultiplicativeAngularMargin(3)]
)
def test_gradients_of_the_views_are_finite_where_angles_are_0_or_pi(margin):
    one = torch.tensor([[3.0, 4.0]], requires_grad=True)
    for other in ([[3.0, 4.0]], [[-3.0, -4.0]], [[4.0, -3.0]]):
        cosine = torch.cosine_similarity(one, torch.tensor(other))[:, None]
        applied(margin, cosine).sum().backward()
        assert one.grad.isfinite().all()
        assert one.grad.abs().max() < 10
        one.grad = None


def test_values_out_of_range_are_an_error():
    for margin in (-0.1, 1.6):
        with pytest.raises(ValueError, match="margin must be between 0"):
            AdditiveAngularMargin(margin)
    for factor in (0.9, 4.1):
        with pytest.raises(ValueError, match="factor must be between 1"):
            MultiplicativeAngularMargin(factor)
