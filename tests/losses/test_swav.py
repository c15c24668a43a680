"""SwAV's loss and codes against float64 loops, and its queue of features."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin import SwAVLoss
from ssps_plugin.heads import Prototypes
from ssps_plugin.losses import FeatureQueue, sinkhorn_codes
from tests.losses.gradients import assert_close, assert_equal, with_gradients


def unit_rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def prototypes(num_prototypes=4, dim=5):
    torch.manual_seed(3)
    return Prototypes(dim, num_prototypes)


class Stored(nn.Module):
    """A queue whose features do not change."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self):
        return self.features


def codes_by_loop(scores, epsilon, num_iterations):
    """Sinkhorn-Knopp over a table, in float64.

    It scales exp(scores / epsilon), columns to 1 / K, then rows to 1 / B.
    """
    table = [[math.exp(s / epsilon) for s in row] for row in scores.tolist()]
    rows, columns = range(len(table)), range(len(table[0]))
    for _ in range(num_iterations):
        for k in columns:
            total = sum(table[b][k] for b in rows)
            for b in rows:
                table[b][k] /= total * len(columns)
        for b in rows:
            total = sum(table[b])
            for k in columns:
                table[b][k] /= total * len(rows)
    return torch.tensor(table, dtype=torch.float64) * len(rows)


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
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


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
    assert_equal(drawn, (whole[0], whole[1], whole[3]))


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
    assert_equal(found, expected)


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


def scores(rows=12, num_prototypes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, num_prototypes, generator=generator) - 1


@pytest.mark.parametrize("num_iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("rows", [1, 3, 12])
def test_codes_equal_a_loop(rows, epsilon, num_iterations):
    given = scores(rows)
    found = sinkhorn_codes(given, epsilon, num_iterations)
    expected = codes_by_loop(given, epsilon, num_iterations)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_rows_sum_to_one_and_columns_to_equal_shares():
    codes = sinkhorn_codes(scores(), epsilon=0.1, num_iterations=200)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))
    torch.testing.assert_close(
        codes.sum(0), torch.full((4,), 3.0), atol=1e-3, rtol=0
    )
    assert (codes >= 0).all()


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_rows_sum_to_one_after_any_number_of_iterations(num_iterations):
    codes = sinkhorn_codes(scores(), 0.05, num_iterations)
    torch.testing.assert_close(codes.sum(1), torch.ones(12))


def test_a_prototype_that_is_nearest_to_all_rows_does_not_get_all():
    # Two prototypes; every row prefers the first, the last row least.
    table = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.6], [1.0, 0.7]])
    codes = sinkhorn_codes(table, epsilon=0.02, num_iterations=100)
    assert codes.argmax(1).tolist() == [0, 0, 1, 1]


def test_equal_scores_give_equal_codes():
    codes = sinkhorn_codes(torch.full((3, 5), 0.3), 0.05, 3)
    torch.testing.assert_close(codes, torch.full((3, 5), 0.2))


def test_a_constant_added_to_a_prototype_or_to_all_does_not_matter():
    given = scores()
    expected = sinkhorn_codes(given, 0.5, 3)
    shift = torch.tensor([0.0, 0.3, -0.2, 0.7])
    for shifted in (given + 0.4, given + shift):
        found = sinkhorn_codes(shifted, 0.5, 3)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_no_scale_overflows(scale):
    codes = sinkhorn_codes(scale * scores(), 0.001, 3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(12))


def test_leading_dimensions_are_problems_of_their_own():
    pair = torch.stack([scores(seed=1), scores(seed=2)])
    codes = sinkhorn_codes(pair, 0.05, 3)
    for found, given in zip(codes, pair, strict=True):
        torch.testing.assert_close(found, sinkhorn_codes(given, 0.05, 3))


def test_scores_are_left_as_they_were_and_get_no_gradient():
    given = scores().requires_grad_()
    before = given.detach().clone()
    assert not sinkhorn_codes(given, 0.05, 3).requires_grad
    assert torch.equal(given.detach(), before)


def test_half_precision_scores_give_float32_codes():
    given = scores().bfloat16()
    codes = sinkhorn_codes(given, 0.05, 3)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, sinkhorn_codes(given.float(), 0.05, 3))


def step(start, batch):
    """Rows that count on from `start`, the positives' negated."""
    anchors = torch.arange(start, start + batch, dtype=torch.float32)[:, None]
    return anchors, -anchors


def append(queue, start, batch):
    anchors, positives = step(start, batch)
    queue.update_anchors(anchors)
    queue.update(positives)


def held(queue):
    anchors, positives = queue().squeeze(-1).tolist()
    assert positives == [-value for value in anchors]
    return sorted(anchors)


def test_an_empty_queue_returns_no_rows():
    assert FeatureQueue(4, 3)().shape == (2, 0, 3)


def test_only_filled_slots_are_returned():
    queue = FeatureQueue(5, 1)
    append(queue, 1, 2)
    assert held(queue) == [1, 2]
    append(queue, 3, 2)
    assert held(queue) == [1, 2, 3, 4]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 7])
def test_the_last_rows_are_kept_in_whatever_batches_they_come(batch):
    queue, seen = FeatureQueue(7, 1), 0
    for _ in range(9):
        append(queue, 1 + seen, batch)
        seen += batch
        assert held(queue) == list(range(max(seen - 7, 0) + 1, seen + 1))


def test_more_rows_than_slots_are_an_error_that_names_the_key():
    queue = FeatureQueue(3, 1)
    message = "at most 3 features .* got 4: raise feature_queue_size"
    with pytest.raises(ValueError, match=message):
        queue.update(torch.ones(4, 1))
    with pytest.raises(ValueError, match=message):
        queue.update_anchors(torch.ones(4, 1))


@pytest.mark.parametrize("keep_originals", [False, True])
def test_a_step_keeps_the_positives_that_are_asked_for(keep_originals):
    queue = FeatureQueue(4, 1, keep_originals=keep_originals)
    for value in (1.0, 2.0):
        row = torch.full((1, 1), value)
        queue.update_anchors(row)
        queue.update_positives(10 * row)
        queue.update(100 * row)
    expected = [10.0, 20.0] if keep_originals else [100.0, 200.0]
    assert queue().squeeze(-1).tolist() == [[1.0, 2.0], expected]


def test_it_fills_before_the_epoch_that_uses_it():
    queue = FeatureQueue(4, 1, start_epoch=3)
    queue.begin_epoch(2)
    append(queue, 1, 3)
    assert queue().shape == (2, 0, 1)
    queue.begin_epoch(3)
    assert held(queue) == [1, 2, 3]


def test_state_goes_on_where_it_left_off():
    queue, other = FeatureQueue(5, 1, 2), FeatureQueue(5, 1, 2)
    for one in (queue, other):
        one.begin_epoch(1)
    append(queue, 1, 4)
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.begin_epoch(2)
        assert held(one) == [1, 2, 3, 4]
        append(one, 5, 3)
        assert held(one) == [3, 4, 5, 6, 7]
    assert torch.equal(queue.features, other.features)


def test_saved_state_does_not_change_with_the_queue():
    queue = FeatureQueue(5, 1)
    append(queue, 1, 2)
    state = queue.get_extra_state()
    append(queue, 3, 2)
    assert state.tolist() == [2, 2]


def test_no_gradient_reaches_the_memory():
    queue = FeatureQueue(4, 2)
    rows = torch.ones(2, 2, requires_grad=True)
    queue.update_anchors(rows)
    queue.update(rows)
    assert not queue().requires_grad
    assert not list(queue.parameters())


def test_half_precision_comes_in_and_float32_goes_out():
    queue = FeatureQueue(4, 2)
    queue.update_anchors(torch.ones(2, 2, dtype=torch.bfloat16))
    queue.update(torch.ones(2, 2, dtype=torch.float16))
    assert torch.equal(queue(), torch.ones(2, 2, 2))


def test_a_row_that_is_not_finite_favours_no_prototype():
    queue = FeatureQueue(4, 2)
    rows = torch.tensor([[float("nan"), 1.0], [0.6, 0.8]])
    queue.update_anchors(rows)
    queue.update(rows)
    assert queue()[0].tolist() == [[0.0, 0.0], rows[1].tolist()]


@pytest.mark.parametrize("name", ["size", "dim", "start_epoch"])
def test_numbers_below_one_are_an_error(name):
    given = {"size": 2, "dim": 3, "start_epoch": 4, name: 0}
    size, dim, start_epoch = given.values()
    message = f"start_epoch >= 1, got {size}, {dim} and {start_epoch}: change"
    with pytest.raises(ValueError, match=message):
        FeatureQueue(**given)
