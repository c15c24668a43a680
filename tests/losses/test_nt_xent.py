"""NT-Xent against a float64 loop, gradients included."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import NTXentLoss
from tests.losses.gradients import assert_close, assert_equal, with_gradients


def views(batch=7, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, batch, dim, generator=generator)


def loss_by_loop(
    anchors, positives, temperature, groups=None, positive_groups=None
):
    """Equation 1, view by view; view (u, k) is the k-th of utterance u."""
    rows = {
        (u, k): F.normalize(side[u], dim=0)
        for k, side in enumerate((anchors, positives))
        for u in range(len(anchors))
    }

    def same_group(u, k, v, m):
        if groups is None or u == v:
            return False
        of = groups, groups if positive_groups is None else positive_groups
        return of[k][u] == of[m][v] >= 0

    total = 0.0
    for u, k in rows:
        others = [
            torch.dot(rows[u, k], row) / temperature
            for (v, m), row in rows.items()
            if (v, m) != (u, k) and not same_group(u, k, v, m)
        ]
        partner = torch.dot(rows[u, k], rows[u, 1 - k]) / temperature
        total = total + torch.stack(others).logsumexp(0) - partner
    return total / len(rows)


@pytest.mark.parametrize("temperature", [0.03, 0.5, 1.0])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_loss_and_gradients_equal_a_loop(batch, temperature):
    anchors, positives = views(batch)
    found = with_gradients(NTXentLoss(temperature), anchors, positives)
    expected = with_gradients(
        lambda a, p: loss_by_loop(a, p, temperature),
        anchors.double(),
        positives.double(),
    )
    assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "groups",
    [
        [0, 0, 1, 1, 1, 2, -1],
        [-1, -1, -1, 3, -1, 3, -1],
        [0] * 7,  # each view finds its partner alone
        [-1] * 7,
    ],
)
def test_other_utterances_of_the_group_leave_the_denominator(groups):
    anchors, positives = views()
    found = with_gradients(
        lambda a, p: NTXentLoss(0.2)(a, p, groups=torch.tensor(groups)),
        anchors,
        positives,
    )
    expected = with_gradients(
        lambda a, p: loss_by_loop(a, p, 0.2, groups),
        anchors.double(),
        positives.double(),
    )
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_positive_may_be_of_another_group_than_its_anchor():
    anchors, positives = views()
    groups, theirs = [0, 0, 1, 1, 2, 2, -1], [1, 3, 0, -1, 2, 0, 1]
    found = NTXentLoss(0.2)(
        anchors,
        positives,
        groups=torch.tensor(groups),
        positive_groups=torch.tensor(theirs),
    )
    expected = loss_by_loop(
        anchors.double(), positives.double(), 0.2, groups, theirs
    )
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_a_batch_all_of_one_group_has_nothing_to_lose():
    anchors, positives = views()
    loss = NTXentLoss()(anchors, positives, groups=torch.zeros(7).long())
    assert loss == 0.0


def test_groups_of_no_group_change_nothing():
    anchors, positives = views()
    loss = NTXentLoss()
    none = torch.full((7,), -1)
    assert loss(anchors, positives, groups=none) == loss(anchors, positives)


def test_orthogonal_pairs_by_hand():
    # One partner at cosine 1, two others at 0 for each view.
    loss = NTXentLoss(0.5)(torch.eye(2), 3 * torch.eye(2))
    expected = -2 + math.log(math.exp(2) + 2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_scale_and_order_of_the_utterances_do_not_matter():
    anchors, positives = views()
    loss = NTXentLoss(0.1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    scales = torch.logspace(-2, 2, 7)[:, None]
    again = loss((anchors * scales)[order], positives[order])
    torch.testing.assert_close(again, loss(anchors, positives))


def test_anchors_and_positives_may_change_places():
    anchors, positives = views()
    loss = NTXentLoss(0.1)
    torch.testing.assert_close(
        loss(positives, anchors), loss(anchors, positives)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    anchors, positives = views().to(dtype)
    loss = NTXentLoss()(anchors, positives)
    assert loss.dtype == torch.float32
    assert loss == NTXentLoss()(anchors.float(), positives.float())


def test_autocast_changes_nothing():
    anchors, positives = views()

    def under_autocast(*leaves):
        with torch.autocast("cpu", torch.bfloat16):
            return NTXentLoss()(*leaves)

    found = with_gradients(under_autocast, anchors, positives)
    expected = with_gradients(NTXentLoss(), anchors, positives)
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("one", "other"), [((4, 3), (5, 3)), ((4, 1, 3), (4, 1, 3)), ((4,), (4,))]
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"one shape \(batch, dim\)"):
        NTXentLoss()(torch.ones(one), torch.ones(other))


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_that_is_not_positive_is_an_error(temperature):
    with pytest.raises(ValueError, match="Expected temperature > 0, got"):
        NTXentLoss(temperature)
