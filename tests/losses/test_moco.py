"""MoCo's loss against a float64 loop, and its queue against a deque."""

import collections
import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.losses import AdditiveMargin, MoCoLoss, NegativeQueue
from tests.losses.gradients import assert_close, assert_equal, with_gradients

DIM = 5


def tensors(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, DIM, generator=generator)


def filled(num_keys, size=6, groups=None):
    """A queue that has taken keys of both directions."""
    negatives = NegativeQueue(size, DIM)
    if num_keys:
        groups = None if groups is None else torch.tensor(groups)
        negatives.update(tensors(2, num_keys, seed=9), groups)
    return negatives


def loss_by_loop(queries, keys, queue, temperature, groups, of_queue):
    """Equation 1 for every query; `queue[d]` are the keys of direction d."""
    losses = []
    for direction in range(2):
        for row, query in enumerate(queries[direction]):
            query = F.normalize(query, dim=0)
            key = F.normalize(keys[direction][row], dim=0)
            logits = [torch.dot(query, key) / temperature]
            for slot, negative in enumerate(queue[direction]):
                if groups is None or not groups[row] == of_queue[slot] >= 0:
                    negative = F.normalize(negative, dim=0)
                    logits.append(torch.dot(query, negative) / temperature)
            losses.append(torch.stack(logits).logsumexp(0) - logits[0])
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("groups", "of_queue"),
    [(None, None), ([0, 1, -1, 0], [0, 1, -1, 2, 0]), ([3] * 4, [3] * 5)],
)
@pytest.mark.parametrize("temperature", [0.03, 0.5])
def test_loss_and_gradients_equal_a_loop(temperature, groups, of_queue):
    queries, keys = tensors(2, 2, 4)
    negatives = filled(5, groups=of_queue)  # of six slots

    def ours(queries, keys):
        given = None if groups is None else torch.tensor(groups)
        return MoCoLoss(temperature)(queries, keys, negatives, groups=given)

    def loop(queries, keys):
        queue = tensors(2, 5, seed=9).double()
        return loss_by_loop(queries, keys, queue, temperature, groups, of_queue)

    found = with_gradients(ours, queries, keys)
    expected = with_gradients(loop, queries.double(), keys.double())
    assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_one_query_by_hand():
    # Key at cosine 0.6, negatives at 1 and 0 in one direction, -1 and 0.8 in
    # the other.
    x, y = [1.0, 0.0], [0.0, 1.0]
    queries = torch.tensor([[x], [y]])
    keys = torch.tensor([[[3.0, 4.0]], [[4.0, 3.0]]])
    negatives = NegativeQueue(2, 2)
    negatives.update(torch.tensor([[x, y], [[0.0, -1.0], [0.6, 0.8]]]))
    loss = MoCoLoss(0.5)(queries, keys, negatives)
    one = math.log(math.exp(1.2) + math.exp(2) + 1) - 1.2
    other = math.log(math.exp(1.2) + math.exp(-2) + math.exp(1.6)) - 1.2
    assert loss.item() == pytest.approx((one + other) / 2, rel=1e-6)


def test_an_empty_queue_leaves_nothing_to_learn():
    queries, keys = tensors(2, 2, 4)
    loss, *gradients = with_gradients(
        lambda q, k: MoCoLoss()(q, k, filled(0)), queries, keys
    )
    assert loss == 0.0
    assert all((gradient == 0).all() for gradient in gradients)


def test_a_queue_all_of_the_anchors_group_leaves_nothing_to_learn():
    queries, keys = tensors(2, 2, 4)
    negatives = filled(6, groups=[2] * 6)
    loss = MoCoLoss()(queries, keys, negatives, groups=torch.full((4,), 2))
    assert loss == 0.0


def test_other_keys_of_the_step_are_no_negatives():
    queries, keys = tensors(2, 2, 4)
    negatives = filled(6)
    loss = MoCoLoss(0.1)
    alone = [
        loss(queries[:, row : row + 1], keys[:, row : row + 1], negatives)
        for row in range(4)
    ]
    joint = loss(queries, keys, negatives)
    torch.testing.assert_close(joint, torch.stack(alone).mean())


def test_the_loss_reads_the_queue_and_leaves_it_as_it_is():
    negatives = filled(5)
    before = {
        k: v.clone() for k, v in negatives.state_dict().items() if v.dim()
    }
    MoCoLoss()(*tensors(2, 2, 4), negatives)
    after = negatives.state_dict()
    assert all(
        torch.equal(after[name], value) for name, value in before.items()
    )


def test_a_key_that_was_enqueued_before_the_loss_would_be_its_own_negative():
    """Why the queue is fed once the loss is done."""
    queries, keys = tensors(2, 2, 4)
    before, after = filled(2), filled(2)
    after.update(keys)
    loss = MoCoLoss(0.03)
    too_late = loss(queries, keys, after)
    # A query then finds its key twice: log 2 is the least it can lose.
    assert too_late >= math.log(2)
    perfect = F.normalize(keys, dim=-1)
    assert loss(perfect, keys, before) < 0.01
    assert loss(perfect, keys, after) >= math.log(2)


def test_backward_may_come_after_the_queue_has_moved_on():
    queries, keys = tensors(2, 2, 4)
    queries = queries.requires_grad_()
    negatives = filled(6)
    loss = MoCoLoss(0.1)(queries, keys, negatives)
    (expected,) = torch.autograd.grad(loss, queries, retain_graph=True)
    negatives.update(keys)
    (found,) = torch.autograd.grad(loss, queries)
    assert torch.equal(found, expected)


def test_a_margin_lowers_the_targets_before_the_temperature():
    queries, keys = tensors(2, 2, 4)
    negatives = filled(6)
    found = MoCoLoss(0.1)(queries, keys, negatives, margin=AdditiveMargin(0.2))
    queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    targets = ((queries * keys).sum(-1) - 0.2) / 0.1
    others = queries @ negatives.keys.transpose(1, 2) / 0.1
    every = torch.cat([targets[..., None], others], dim=-1)
    expected = (every.logsumexp(-1) - targets).mean()
    torch.testing.assert_close(found, expected)


def test_scale_does_not_matter():
    queries, keys = tensors(2, 2, 4)
    negatives = filled(6)
    loss = MoCoLoss(0.1)
    torch.testing.assert_close(
        loss(7 * queries, 0.1 * keys, negatives),
        loss(queries, keys, negatives),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    queries, keys = tensors(2, 2, 4).to(dtype)
    negatives = filled(6)
    loss = MoCoLoss()(queries, keys, negatives)
    assert loss.dtype == torch.float32
    assert loss == MoCoLoss()(queries.float(), keys.float(), negatives)


def test_autocast_changes_nothing():
    queries, keys = tensors(2, 2, 4)
    negatives = filled(6)

    def loss(*leaves):
        return MoCoLoss()(*leaves, negatives, margin=AdditiveMargin())

    def under_autocast(*leaves):
        with torch.autocast("cpu", torch.bfloat16):
            return loss(*leaves)

    found = with_gradients(under_autocast, queries, keys)
    expected = with_gradients(loss, queries, keys)
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("one", "other"), [((2, 4, DIM), (2, 5, DIM)), ((4, DIM), (4, DIM))]
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"one shape \(2, batch, dim\)"):
        MoCoLoss()(torch.ones(one), torch.ones(other), filled(2))


@pytest.mark.parametrize("shape", [(1, 4, DIM), (2, 4, 3)])
def test_queries_that_do_not_fit_the_queue_are_an_error(shape):
    with pytest.raises(ValueError, match="NegativeQueue, which is made for 2"):
        MoCoLoss()(torch.ones(shape), torch.ones(shape), filled(2))


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_that_is_not_positive_is_an_error(temperature):
    with pytest.raises(ValueError, match="Expected temperature > 0, got"):
        MoCoLoss(temperature)


def held(negatives):
    """Keys and groups of the filled slots, sorted."""
    filled = negatives.is_filled
    rows = zip(
        negatives.keys[:, filled].transpose(0, 1).tolist(),
        negatives.groups[filled].tolist(),
        strict=True,
    )
    return sorted(rows)


@pytest.mark.parametrize(
    "batches", [[2, 2, 2, 2], [3, 1, 4, 2, 3], [7, 7], [7, 3, 7], [1] * 20]
)
def test_the_last_keys_are_held_whatever_the_batches(batches):
    negatives = NegativeQueue(7, DIM)
    expected = collections.deque(maxlen=7)
    for step, batch in enumerate(batches):
        keys = tensors(2, batch, seed=step)
        groups = torch.arange(batch) + 10 * step
        negatives.update(keys, groups)
        rows = F.normalize(keys, dim=-1).transpose(0, 1).tolist()
        expected.extend(zip(rows, groups.tolist(), strict=True))
        assert held(negatives) == sorted(expected)


def test_directions_do_not_mix():
    negatives = NegativeQueue(2, 2)
    x, y = [1.0, 0.0], [0.0, 1.0]
    negatives.update(torch.tensor([[x], [y]]))
    queries = torch.tensor([[x], [x]])
    cosines, hidden = negatives(queries)
    cosines = cosines.masked_fill(hidden, 9.0)
    assert cosines.tolist() == [[[1.0, 9.0]], [[0.0, 9.0]]]


def test_an_empty_slot_is_hidden_from_every_query():
    negatives = NegativeQueue(4, DIM)
    cosines, hidden = negatives(tensors(2, 5, seed=0))
    assert hidden.expand_as(cosines).all()
    negatives.update(tensors(2, 3, seed=1))
    _, hidden = negatives(tensors(2, 5, seed=0))
    assert hidden.tolist() == [False, False, False, True]


def test_negatives_of_the_querys_group_are_hidden_and_no_group_hides_none():
    negatives = NegativeQueue(4, DIM)
    negatives.update(tensors(2, 4, seed=0), torch.tensor([0, 1, -1, 0]))
    _, hidden = negatives(
        tensors(2, 3, seed=1), groups=torch.tensor([0, 1, -1])
    )
    assert hidden.tolist() == [
        [True, False, False, True],
        [False, True, False, False],
        [False] * 4,
    ]


def test_a_new_epoch_forgets_groups_and_a_resumed_one_does_not():
    negatives = NegativeQueue(4, DIM)
    negatives.begin_epoch(3)
    negatives.update(tensors(2, 4, seed=0), torch.tensor([0, 1, 2, 3]))
    resumed = NegativeQueue(4, DIM)
    resumed.load_state_dict(negatives.state_dict())
    resumed.begin_epoch(3)
    assert resumed.groups.tolist() == [0, 1, 2, 3]
    resumed.begin_epoch(4)
    assert resumed.groups.tolist() == [-1] * 4
    assert resumed.is_filled.all()
    assert torch.equal(resumed.keys, negatives.keys)


def test_a_resume_goes_on_as_if_nothing_had_happened():
    def feed(negatives, steps):
        for step in steps:
            negatives.update(tensors(2, 3, seed=step), torch.arange(3) + step)

    whole, first, resumed = (NegativeQueue(7, DIM) for _ in range(3))
    feed(whole, range(6))
    feed(first, range(4))
    resumed.load_state_dict(first.state_dict())
    feed(resumed, range(4, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_key_that_is_not_finite_is_no_negative_and_spoils_no_gradient():
    negatives = NegativeQueue(3, DIM)
    keys = tensors(2, 3, seed=0)
    keys[1, 1, 0] = float("nan")
    keys[0, 2, 1] = float("inf")
    negatives.update(keys)
    queries = tensors(2, 2, seed=1).requires_grad_()
    cosines, hidden = negatives(queries)
    assert hidden.tolist() == [False, True, True]
    cosines.masked_fill(hidden, 0.0).sum().backward()
    assert queries.grad.isfinite().all()


def test_evaluation_feeds_nothing():
    negatives = NegativeQueue(3, DIM).eval()
    negatives.update(tensors(2, 2, seed=0))
    assert not negatives.is_filled.any()
    assert negatives.cursor == 0


def test_half_precision_is_kept_in_float32_and_without_gradient():
    negatives = NegativeQueue(3, DIM)
    keys = tensors(2, 2, seed=0).bfloat16()
    negatives.update(keys.clone().requires_grad_())
    assert negatives.keys.dtype == torch.float32
    assert not negatives.keys.requires_grad
    expected = F.normalize(keys.float(), dim=-1)
    assert torch.equal(negatives.keys[:, :2], expected)


def test_metrics_report_the_fraction_of_filled_slots():
    negatives = NegativeQueue(8, DIM)
    negatives.update(tensors(2, 2, seed=0))
    assert negatives.metrics() == {"negatives_fill": 0.25}


def test_a_step_larger_than_the_queue_is_an_error_that_names_the_key():
    with pytest.raises(ValueError, match="negatives_size"):
        NegativeQueue(3, DIM).update(tensors(2, 4, seed=0))


@pytest.mark.parametrize("shape", [(4, DIM), (1, 4, DIM), (2, 4, 2)])
def test_keys_of_another_shape_are_an_error(shape):
    with pytest.raises(ValueError, match=r"keys of shape \(2, batch, 5\)"):
        NegativeQueue(9, DIM).update(torch.ones(shape))


@pytest.mark.parametrize("arguments", [(0, 3, 2), (3, 0, 2), (3, 3, 0)])
def test_sizes_below_one_are_an_error(arguments):
    size, dim, num_directions = arguments
    message = f"num_directions >= 1, got {size}, {dim} and {num_directions}:"
    with pytest.raises(ValueError, match=message):
        NegativeQueue(*arguments)
