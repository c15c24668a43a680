"""Clipping per parameter, against a loop."""

import pytest
import torch
from torch import nn

from ssps_plugin.gradients import ClipPerParameter


def parameters_with_gradients():
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,))]
    for scale, parameter in zip((9.0, 0.1), parameters, strict=True):
        shape = parameter.shape
        parameter.grad = scale * torch.randn(shape, generator=generator)
    return [*parameters, nn.Parameter(torch.zeros(2))]  # one without gradient


def test_a_large_gradient_is_scaled_and_the_others_stay():
    large, small, none = parameters_with_gradients()
    expected = 3.0 * large.grad / large.grad.norm()
    kept = small.grad.clone()
    ClipPerParameter(3.0)([large, small, none])
    torch.testing.assert_close(large.grad, expected)
    assert torch.equal(small.grad, kept)
    assert none.grad is None


def test_a_generator_of_parameters_and_no_gradient_at_all_will_do():
    large, *_ = parameters_with_gradients()
    ClipPerParameter(1.0)(parameter for parameter in [large])
    assert large.grad.norm() == pytest.approx(1.0, rel=1e-4)
    ClipPerParameter(1.0)([nn.Parameter(torch.zeros(2))])


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_a_norm_that_is_not_positive_is_an_error(max_norm):
    with pytest.raises(ValueError, match="max_norm must be > 0"):
        ClipPerParameter(max_norm)
