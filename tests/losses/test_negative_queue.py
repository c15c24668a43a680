"""The queue of negatives against a Python list."""

import collections

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.losses import NegativeQueue

DIM = 3


def step_keys(batch, seed, directions=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(directions, batch, DIM, generator=generator)


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
        keys = step_keys(batch, step)
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
    cosines, hidden = negatives(step_keys(5, 0))
    assert hidden.expand_as(cosines).all()
    negatives.update(step_keys(3, 1))
    _, hidden = negatives(step_keys(5, 0))
    assert hidden.tolist() == [False, False, False, True]


def test_negatives_of_the_querys_group_are_hidden_and_no_group_hides_none():
    negatives = NegativeQueue(4, DIM)
    negatives.update(step_keys(4, 0), torch.tensor([0, 1, -1, 0]))
    _, hidden = negatives(step_keys(3, 1), groups=torch.tensor([0, 1, -1]))
    assert hidden.tolist() == [
        [True, False, False, True],
        [False, True, False, False],
        [False] * 4,
    ]


def test_a_new_epoch_forgets_groups_and_a_resumed_one_does_not():
    negatives = NegativeQueue(4, DIM)
    negatives.begin_epoch(3)
    negatives.update(step_keys(4, 0), torch.tensor([0, 1, 2, 3]))
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
            negatives.update(step_keys(3, step), torch.arange(3) + step)

    whole, first, resumed = (NegativeQueue(7, DIM) for _ in range(3))
    feed(whole, range(6))
    feed(first, range(4))
    resumed.load_state_dict(first.state_dict())
    feed(resumed, range(4, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_key_that_is_not_finite_is_no_negative_and_spoils_no_gradient():
    negatives = NegativeQueue(3, DIM)
    keys = step_keys(3, 0)
    keys[1, 1, 0] = float("nan")
    keys[0, 2, 1] = float("inf")
    negatives.update(keys)
    queries = step_keys(2, 1).requires_grad_()
    cosines, hidden = negatives(queries)
    assert hidden.tolist() == [False, True, True]
    cosines.masked_fill(hidden, 0.0).sum().backward()
    assert queries.grad.isfinite().all()


def test_evaluation_feeds_nothing():
    negatives = NegativeQueue(3, DIM).eval()
    negatives.update(step_keys(2, 0))
    assert not negatives.is_filled.any()
    assert negatives.cursor == 0


def test_half_precision_is_kept_in_float32_and_without_gradient():
    negatives = NegativeQueue(3, DIM)
    keys = step_keys(2, 0).bfloat16()
    negatives.update(keys.clone().requires_grad_())
    assert negatives.keys.dtype == torch.float32
    assert not negatives.keys.requires_grad
    expected = F.normalize(keys.float(), dim=-1)
    assert torch.equal(negatives.keys[:, :2], expected)


def test_figures_tell_how_full_it_is():
    negatives = NegativeQueue(8, DIM)
    negatives.update(step_keys(2, 0))
    assert negatives.figures() == {"negatives_fill": 0.25}


def test_a_step_larger_than_the_queue_is_an_error_that_names_the_key():
    with pytest.raises(ValueError, match="negatives_size"):
        NegativeQueue(3, DIM).update(step_keys(4, 0))


@pytest.mark.parametrize("shape", [(4, DIM), (1, 4, DIM), (2, 4, 2)])
def test_keys_of_another_shape_are_an_error(shape):
    with pytest.raises(ValueError, match=r"keys of shape \(2, batch, 3\)"):
        NegativeQueue(9, DIM).update(torch.ones(shape))


@pytest.mark.parametrize("arguments", [(0, 3), (3, 0), (3, 3, 0)])
def test_sizes_below_one_are_an_error(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        NegativeQueue(*arguments)
