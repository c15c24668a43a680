"""SwAV's queue: order, epochs, state."""

import pytest
import torch

from ssps_plugin.losses import FeatureQueue


def step(start, batch):
    """Rows that count on from `start`, the positives' negated."""
    anchors = torch.arange(start, start + batch, dtype=torch.float32)[:, None]
    return anchors, -anchors


def take(queue, start, batch):
    anchors, positives = step(start, batch)
    queue.update_anchors(anchors)
    queue.update(positives)


def held(queue):
    anchors, positives = queue().squeeze(-1).tolist()
    assert positives == [-value for value in anchors]
    return sorted(anchors)


def test_an_empty_queue_gives_no_row():
    assert FeatureQueue(4, 3)().shape == (2, 0, 3)


def test_only_filled_slots_are_given():
    queue = FeatureQueue(5, 1)
    take(queue, 1, 2)
    assert held(queue) == [1, 2]
    take(queue, 3, 2)
    assert held(queue) == [1, 2, 3, 4]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 7])
def test_the_last_rows_are_kept_in_whatever_batches_they_come(batch):
    queue, seen = FeatureQueue(7, 1), 0
    for _ in range(9):
        take(queue, 1 + seen, batch)
        seen += batch
        assert held(queue) == list(range(max(seen - 7, 0) + 1, seen + 1))


def test_more_rows_than_slots_are_an_error_that_names_the_key():
    queue = FeatureQueue(3, 1)
    message = "brings 4 features .* 3 slots. Set feature_queue_size"
    with pytest.raises(ValueError, match=message):
        queue.update(torch.ones(4, 1))
    with pytest.raises(ValueError, match=message):
        queue.update_anchors(torch.ones(4, 1))


def test_it_fills_before_the_epoch_that_uses_it():
    queue = FeatureQueue(4, 1, start_epoch=3)
    queue.begin_epoch(2)
    take(queue, 1, 3)
    assert queue().shape == (2, 0, 1)
    queue.begin_epoch(3)
    assert held(queue) == [1, 2, 3]


def test_state_goes_on_where_it_left_off():
    queue, other = FeatureQueue(5, 1, 2), FeatureQueue(5, 1, 2)
    for one in (queue, other):
        one.begin_epoch(1)
    take(queue, 1, 4)
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.begin_epoch(2)
        assert held(one) == [1, 2, 3, 4]
        take(one, 5, 3)
        assert held(one) == [3, 4, 5, 6, 7]
    assert torch.equal(queue.features, other.features)


def test_saved_state_does_not_follow_the_queue():
    queue = FeatureQueue(5, 1)
    take(queue, 1, 2)
    state = queue.get_extra_state()
    take(queue, 3, 2)
    assert state == {"num_taken": [2, 2]}


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
    given = {"size": 2, "dim": 2, "start_epoch": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        FeatureQueue(**given)
