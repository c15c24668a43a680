"""SwAV against a float64 loop, gradients included."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin import SwAVLoss
from ssps_plugin.heads import Prototypes
from ssps_plugin.losses import FeatureQueue
from tests.losses.sinkhorn_loop import codes_by_loop


def unit_rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def prototypes(num_prototypes=4, dim=5):
    torch.manual_seed(3)
    return Prototypes(dim, num_prototypes)


class Stored(nn.Module):
    """What a queue gives: features that stay."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self):
        return self.features


def loss_by_loop(anchors, positives, weight, temperature, epsilon, stored):
    """Equations 1 to 5, view by view; the codes are numbers."""
    sides = (anchors, positives)
    codes = []
    for side, more in zip(sides, stored, strict=True):
        every = torch.cat([side.detach(), more]) @ weight.detach().T
        codes.append(codes_by_loop(every, epsilon, 3))
    total = 0.0
    for i in range(len(anchors)):
        for own, other in ((0, 1), (1, 0)):
            logits = [sides[own][i] @ row / temperature for row in weight]
            normalizer = torch.stack(logits).logsumexp(0)
            for k, logit in enumerate(logits):
                total = total - codes[other][i, k] * (logit - normalizer)
    return total / (2 * len(anchors))


def with_gradients(function, *leaves):
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    loss = function(*leaves)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def cosines_with(weight):
    return lambda features: features @ weight.T


@pytest.mark.parametrize(
    ("temperature", "epsilon"), [(0.1, 0.05), (1.0, 0.05), (0.1, 0.5)]
)
@pytest.mark.parametrize("num_stored", [0, 6])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_loss_and_gradients_equal_a_loop(
    batch, num_stored, temperature, epsilon
):
    anchors, positives = unit_rows(2, batch, 5)
    weight, stored = (
        unit_rows(4, 5, seed=1),
        unit_rows(2, num_stored, 5, seed=2),
    )
    loss = SwAVLoss(temperature, epsilon)
    found = with_gradients(
        lambda a, p, w: loss(a, p, cosines_with(w), Stored(stored)),
        anchors,
        positives,
        weight,
    )
    expected = with_gradients(
        lambda a, p, w: loss_by_loop(
            a, p, w, temperature, epsilon, stored.double()
        ),
        anchors.double(),
        positives.double(),
        weight.double(),
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-4)


def test_the_published_settings_are_the_defaults():
    anchors, positives = unit_rows(2, 7, 5)
    module = prototypes()
    found = SwAVLoss()(anchors, positives, prototypes=module)
    published = SwAVLoss(temperature=0.1, epsilon=0.05, num_iterations=3)
    assert found == published(anchors, positives, prototypes=module)


def test_two_prototypes_by_hand():
    # Each view sits on its prototype, so codes are one-hot up to exp(-20).
    weight, views = torch.eye(2), torch.eye(2)
    agree = SwAVLoss(temperature=0.5)(views, views, cosines_with(weight))
    assert agree.item() == pytest.approx(math.log(1 + math.exp(-2)))
    crossed = SwAVLoss(temperature=0.5)(
        views, views.flip(0), cosines_with(weight)
    )
    assert crossed.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_anchors_and_positives_may_change_places():
    anchors, positives = unit_rows(2, 7, 5)
    loss, module = SwAVLoss(), prototypes()
    torch.testing.assert_close(
        loss(positives, anchors, module), loss(anchors, positives, module)
    )


def test_an_empty_queue_is_no_queue():
    anchors, positives = unit_rows(2, 7, 5)
    loss, module = SwAVLoss(), prototypes()
    expected = loss(anchors, positives, module)
    queue = FeatureQueue(8, 5)
    assert loss(anchors, positives, module, queue) == expected
    queue.update_anchors(unit_rows(8, 5, seed=4))
    queue.update(unit_rows(8, 5, seed=5))
    assert loss(anchors, positives, module, queue) != expected
    queue.start_epoch = 2
    queue.begin_epoch(1)
    assert loss(anchors, positives, module, queue) == expected


def test_each_side_has_its_own_features_in_the_queue():
    anchors, positives = unit_rows(2, 7, 5)
    loss, module = SwAVLoss(), prototypes()
    stored = unit_rows(2, 6, 5, seed=2)
    one = loss(anchors, positives, module, Stored(stored))
    torch.testing.assert_close(
        loss(positives, anchors, module, Stored(stored.flip(0))), one
    )
    assert loss(anchors, positives, module, Stored(stored.flip(0))) != one


def test_prototypes_are_called_once():
    calls = []
    weight = unit_rows(4, 5)

    def counted(features):
        calls.append(features.shape)
        return features @ weight.T

    anchors, positives = unit_rows(2, 7, 5)
    SwAVLoss()(anchors, positives, counted, Stored(unit_rows(2, 3, 5)))
    assert calls == [(2, 10, 5)]


def test_a_positive_without_gradient_still_teaches_the_prototypes():
    anchors, positives = unit_rows(2, 7, 5)
    weight = unit_rows(4, 5, seed=1)
    whole = with_gradients(
        lambda a, p, w: SwAVLoss()(a, p, cosines_with(w)),
        anchors,
        positives,
        weight,
    )
    drawn = with_gradients(
        lambda a, w: SwAVLoss()(a, positives, cosines_with(w)), anchors, weight
    )
    for found, expected in zip(
        drawn, (whole[0], whole[1], whole[3]), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    anchors, positives = unit_rows(2, 7, 5).to(dtype)
    module = prototypes()
    loss = SwAVLoss()(anchors, positives, module)
    assert loss.dtype == torch.float32
    assert loss == SwAVLoss()(anchors.float(), positives.float(), module)


def test_autocast_changes_nothing():
    module = prototypes()

    def under_autocast(*leaves):
        with torch.autocast("cpu", torch.bfloat16):
            return SwAVLoss()(*leaves, prototypes=module)

    views = unit_rows(2, 7, 5)
    found = with_gradients(under_autocast, *views)
    expected = with_gradients(lambda a, p: SwAVLoss()(a, p, module), *views)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("one", "other"), [((4, 3), (5, 3)), ((4, 1, 3), (4, 1, 3)), ((4,), (4,))]
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"one shape \(batch, dim\)"):
        SwAVLoss()(torch.ones(one), torch.ones(other), nn.Identity())


@pytest.mark.parametrize(
    "given", [{"temperature": 0.0}, {"epsilon": -0.1}, {"num_iterations": 0}]
)
def test_settings_that_make_no_sense_are_an_error(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        SwAVLoss(**given)
