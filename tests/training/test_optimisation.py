"""Schedules and clipping, against loops and the published figures."""

import pytest
import torch
from torch import nn

from ssps_plugin.training.optimisation import (
    ClipPerParameter,
    StepDecay,
    WarmupCosine,
    give_own_group,
)


def test_the_published_schedule_at_the_start_of_ssps():
    # Adam 1e-3, times 0.95 every five epochs: 3.6e-4 after 100 epochs.
    learning_rate = StepDecay(1e-3, factor=0.95, interval_epochs=5)
    assert learning_rate(100) == pytest.approx(3.585e-4, rel=1e-3)


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_equals_a_loop(interval):
    learning_rate = StepDecay(2.0, 0.5, interval)
    expected = 2.0
    for epoch in range(1, 30):
        if epoch > 1 and (epoch - 1) % interval == 0:
            expected *= 0.5
        for step in (0.0, 0.5, 0.99):
            found = learning_rate(epoch - 1 + step)
            assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "arguments", [(0.0,), (-1.0,), (1.0, 0.0), (1.0, 0.5, 0)]
)
def test_numbers_that_make_no_schedule_are_an_error(arguments):
    with pytest.raises(ValueError, match="Expected initial > 0"):
        StepDecay(*arguments)


def test_the_published_dino_schedule():
    # A cosine over 100 epochs behind 10 of warm-up, cut off at epoch 100.
    learning_rate = WarmupCosine(0.2, 1e-5, warmup_epochs=10, cosine_epochs=100)
    assert learning_rate(0) == 0.0
    assert learning_rate(2.5) == pytest.approx(0.05)
    assert learning_rate(10) == pytest.approx(0.2)
    assert learning_rate(60) == pytest.approx((0.2 + 1e-5) / 2)
    assert learning_rate(80) == pytest.approx(0.041, abs=5e-4)
    assert learning_rate(100) == pytest.approx(0.0049, abs=5e-5)
    assert learning_rate(200) == pytest.approx(1e-5)


def test_without_warm_up_it_starts_at_the_peak():
    assert WarmupCosine(1.0, 0.0, 0, 5)(0) == 1.0


@pytest.mark.parametrize(
    "arguments",
    [(1.0, 2.0, 1, 1), (1.0, -1.0, 1, 1), (1.0, 0.0, -1, 1), (1.0, 0.0, 1, 0)],
)
def test_numbers_that_make_no_warm_up_and_cosine_are_an_error(arguments):
    with pytest.raises(ValueError, match="Expected 0 <= final <= peak"):
        WarmupCosine(*arguments)


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
    with pytest.raises(ValueError, match="Expected max_norm > 0, got"):
        ClipPerParameter(max_norm)


def test_a_group_of_ones_own_has_its_own_decay_and_else_what_others_have():
    weight, bias, prototypes = (nn.Parameter(torch.ones(2)) for _ in range(3))
    groups = [
        {"params": [bias], "weight_decay": 0.0},
        {"params": [weight, prototypes]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5, momentum=0.9, weight_decay=0.1)
    give_own_group(optimizer, [prototypes], weight_decay=0.0)
    for parameter in (weight, bias, prototypes):
        parameter.grad = torch.zeros(2)
    optimizer.step()
    kept = torch.ones(2)
    torch.testing.assert_close(weight.detach(), kept * (1 - 0.5 * 0.1))
    assert torch.equal(bias.detach(), kept)
    assert torch.equal(prototypes.detach(), kept)
    own = optimizer.param_groups[2]
    assert (own["lr"], own["momentum"], own["lr_scale"]) == (0.5, 0.9, 1.0)


def test_no_parameters_are_no_group():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.5)
    give_own_group(optimizer, [], weight_decay=0.0)
    assert len(optimizer.param_groups) == 1
