"""VICReg against a float64 loop, gradients included."""

import pytest
import torch

from ssps_plugin import VICRegLoss
from tests.losses.gradients import assert_close, assert_equal, with_gradients


def views(batch=7, dim=5, seed=0, scale=0.7):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, batch, dim, generator=generator)


def loss_by_loop(anchors, positives, weights):
    """The three terms, number by number."""
    batch, dim = anchors.shape
    pairs = [(n, d) for n in range(batch) for d in range(dim)]
    invariance = sum((anchors[at] - positives[at]) ** 2 for at in pairs)
    invariance = invariance / len(pairs)
    variance = covariance = 0.0
    for side in (anchors, positives):
        means = [
            sum(side[n, d] for n in range(batch)) / batch for d in range(dim)
        ]
        for i in range(dim):
            for j in range(dim):
                together = sum(
                    (side[n, i] - means[i]) * (side[n, j] - means[j])
                    for n in range(batch)
                ) / (batch - 1)
                if i == j:
                    missing = 1 - (together + 1e-4).sqrt()
                    variance = variance + missing.clamp(min=0) / dim
                else:
                    covariance = covariance + together**2 / dim
    terms = (invariance, variance, covariance)
    return sum(
        weight * term for weight, term in zip(weights, terms, strict=True)
    )


@pytest.mark.parametrize(
    "weights", [(1, 1, 0.1), (25, 25, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
)
@pytest.mark.parametrize("batch", [2, 7])
def test_loss_and_gradients_equal_a_loop(batch, weights):
    anchors, positives = views(batch)
    found = with_gradients(VICRegLoss(*weights), anchors, positives)
    expected = with_gradients(
        lambda a, p: loss_by_loop(a, p, weights),
        anchors.double(),
        positives.double(),
    )
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_published_weights_are_the_defaults():
    anchors, positives = views()
    found = VICRegLoss()(anchors, positives)
    assert found == VICRegLoss(1.0, 1.0, 0.1)(anchors, positives)


def test_each_term_by_hand():
    anchors = torch.tensor([[0.0, 1.0], [0.6, 1.0]])
    positives = torch.tensor([[2.0, 0.0], [-2.0, 4.0]])
    # Differences -2, 1; 2.6, -3.
    invariance = VICRegLoss(1, 0, 0)(anchors, positives)
    assert invariance.item() == pytest.approx((4 + 1 + 6.76 + 9) / 4)
    # Variances 0.18 and 0 of the anchors, 8 and 8 of the positives.
    variance = VICRegLoss(0, 1, 0)(anchors, positives)
    expected = ((1 - 0.1801**0.5) + (1 - 0.01)) / 2
    assert variance.item() == pytest.approx(expected)
    # Covariances 0 of the anchors, -8 of the positives, twice.
    covariance = VICRegLoss(0, 0, 1)(anchors, positives)
    assert covariance.item() == pytest.approx(2 * 64 / 2)


def test_the_variance_terms_of_both_sides_are_summed():
    same = torch.ones(4, 3)  # no variance at all: 1 - 0.01 on either side
    assert VICRegLoss(0, 1, 0)(same, same).item() == pytest.approx(1.98)


def test_a_collapsed_batch_still_gets_a_finite_gradient():
    same = torch.ones(4, 3)
    for part in with_gradients(VICRegLoss(), same, same):
        assert part.isfinite().all()


def test_spread_and_uncorrelated_pairs_have_nothing_to_lose():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert VICRegLoss()(2 * signs, 2 * signs) == 0.0


def test_anchors_and_positives_may_change_places():
    anchors, positives = views()
    loss = VICRegLoss()
    torch.testing.assert_close(
        loss(positives, anchors), loss(anchors, positives)
    )


def test_a_positive_without_gradient_is_a_constant():
    anchors, positives = views()
    whole = with_gradients(VICRegLoss(), anchors, positives)
    anchors.requires_grad_()
    loss = VICRegLoss()(anchors, positives)
    assert loss == whole[0]
    assert torch.equal(torch.autograd.grad(loss, anchors)[0], whole[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    anchors, positives = views().to(dtype)
    loss = VICRegLoss()(anchors, positives)
    assert loss.dtype == torch.float32
    assert loss == VICRegLoss()(anchors.float(), positives.float())


def test_autocast_changes_nothing():
    anchors, positives = views()

    def under_autocast(*leaves):
        with torch.autocast("cpu", torch.bfloat16):
            return VICRegLoss()(*leaves)

    found = with_gradients(under_autocast, anchors, positives)
    expected = with_gradients(VICRegLoss(), anchors, positives)
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("one", "other"), [((4, 3), (5, 3)), ((4, 1, 3), (4, 1, 3)), ((4,), (4,))]
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"one shape \(batch, dim\)"):
        VICRegLoss()(torch.ones(one), torch.ones(other))


def test_a_batch_of_one_is_an_error():
    with pytest.raises(ValueError, match="raise global_batch_size"):
        VICRegLoss()(torch.ones(1, 3), torch.ones(1, 3))


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
def test_a_negative_weight_is_an_error(name):
    with pytest.raises(ValueError, match=f"Expected {name}_weight >= 0, got"):
        VICRegLoss(**{f"{name}_weight": -1.0})
