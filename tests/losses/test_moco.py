"""MoCo's loss against a float64 loop, gradients included."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.losses import AdditiveMargin, MoCoLoss, NegativeQueue

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


def with_gradients(function, queries, keys):
    leaves = [side.clone().requires_grad_() for side in (queries, keys)]
    loss = function(*leaves)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


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
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)


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
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("one", "other"), [((2, 4, DIM), (2, 5, DIM)), ((4, DIM), (4, DIM))]
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"one shape \(2, batch, dim\)"):
        MoCoLoss()(torch.ones(one), torch.ones(other), filled(2))


@pytest.mark.parametrize("shape", [(1, 4, DIM), (2, 4, 3)])
def test_queries_that_do_not_fit_the_queue_are_an_error(shape):
    with pytest.raises(ValueError, match="NegativeQueue is made for 2"):
        MoCoLoss()(torch.ones(shape), torch.ones(shape), filled(2))


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_that_is_not_positive_is_an_error(temperature):
    with pytest.raises(ValueError, match="temperature must be > 0"):
        MoCoLoss(temperature)
