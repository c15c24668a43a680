"""Claims about training.health: what is unsound is told, what is sound not."""

import pytest
import torch
from torch import nn

from ssps_plugin.training.health import (
    check_finite,
    warn_of_collapse,
    warn_of_divergence,
    weight_norm,
)


def alike(num, noise):
    generator = torch.Generator().manual_seed(0)
    return 1 + noise * torch.randn(num, 64, generator=generator)


@pytest.mark.parametrize(
    ("anchors", "is_told"),
    [
        (alike(8, 0.01), True),
        (alike(8, 1.0), False),
        (alike(1, 0.0), False),  # one anchor is like nobody
        (torch.stack([alike(8, 0.01), alike(8, 0.01)]), True),
        # Two views that are each collapsed to directions of their own.
        (torch.stack([alike(8, 0.0), -alike(8, 0.0)]), True),
        (100 * alike(8, 0.01).half(), True),
    ],
)
def test_anchors_that_are_alike_are_told(anchors, is_told, caplog):
    warn_of_collapse(anchors, epoch=3)
    assert ("collapsed" in caplog.text) == is_told
    assert ("after epoch 3" in caplog.text) == is_told


@pytest.mark.parametrize(
    ("first_norm", "is_told"), [(1.0, True), (50.0, False), (0.0, False)]
)
def test_weights_that_have_grown_are_told(first_norm, is_told, caplog):
    module = nn.Linear(2, 1)
    nn.init.constant_(module.weight, 100.0)
    nn.init.constant_(module.bias, 50.0)
    assert weight_norm(module) == pytest.approx(150.0)
    warn_of_divergence(module, first_norm, epoch=4, learning_rate=0.1)
    assert ("150 times as large" in caplog.text) == is_told
    assert ("now 0.1" in caplog.text) == is_told


def test_what_is_not_finite_is_named_and_counted():
    module = nn.BatchNorm1d(2)
    check_finite({"encoder": module}, epoch=2)
    module.running_var[1] = torch.nan
    module.weight.data[0] = torch.inf
    with pytest.raises(RuntimeError) as raised:
        check_finite({"encoder": module, "none": nn.Identity()}, epoch=2)
    message = str(raised.value)
    assert "in epoch 2" in message and "in 2 of 4 entries" in message
    assert "encoder.weight, encoder.running_var" in message
