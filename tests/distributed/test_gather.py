"""Gathers over two ranks whose batches differ, and broadcasts."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from ssps_plugin.distributed import (
    JointBatch,
    broadcast_buffers,
    gather_rows,
    is_distributed,
    world_size,
)

SIZES = (3, 5)


def own_rows(rank):
    rows = torch.arange(sum(SIZES) * 2.0).view(-1, 2)
    start = sum(SIZES[:rank])
    return rows[start : start + SIZES[rank]]


def gather_all(rank):
    rows = own_rows(rank)
    index = rows[:, 0].long()
    gathered = gather_rows(index, rows, rows.bfloat16(), rows[:, 0] > 5)
    return [tensor.tolist() for tensor in gathered]


def test_rows_come_in_rank_order_whatever_their_number_and_dtype(run_ranks):
    rows = torch.arange(sum(SIZES) * 2.0).view(-1, 2)
    expected = [
        rows[:, 0].long().tolist(),
        rows.tolist(),
        rows.tolist(),
        (rows[:, 0] > 5).tolist(),
    ]
    assert run_ranks(gather_all) == [expected, expected]


def gradient_of_gathered(rank):
    """Rank r weighs row i by (r + 1) · i, and adds a bias of its own."""
    own = own_rows(rank).requires_grad_()
    bias = torch.zeros(sum(SIZES), 2, requires_grad=True)
    own_bias = bias * 1.0
    weights = (rank + 1) * torch.arange(float(sum(SIZES)))[:, None]
    every = JointBatch.of(own).gather_with_gradient(own)
    ((every + own_bias) * weights).sum().backward()
    return own.grad[:, 0].tolist(), bias.grad[:, 0].tolist()


def test_a_row_gets_the_gradients_of_all_ranks_and_others_only_their_own(
    run_ranks,
):
    results = run_ranks(gradient_of_gathered)
    # A row's gradient is summed over the ranks: (1 + 2) · i.
    assert results[0][0] == [0.0, 3.0, 6.0]
    assert results[1][0] == [9.0, 12.0, 15.0, 18.0, 21.0]
    # What is not gathered keeps the gradient of its rank.
    assert results[0][1] == [1.0 * i for i in range(8)]
    assert results[1][1] == [2.0 * i for i in range(8)]


def describe(rank):
    module = nn.BatchNorm1d(2)
    module.running_mean.fill_(rank + 1)
    module.weight.data.fill_(rank + 1)
    broadcast_buffers(module)
    joint = JointBatch.of(torch.empty(SIZES[rank]))
    mean, weight = module.running_mean, module.weight
    place = joint.start, len(joint), (joint.own.start, joint.own.stop)
    return place, world_size(), mean.tolist(), weight.tolist()


def test_ranks_know_their_place_and_take_the_buffers_of_the_first(run_ranks):
    assert run_ranks(describe) == [
        ((0, 8, (0, 3)), 2, [1.0, 1.0], [1.0, 1.0]),
        # Parameters are not broadcast.
        ((3, 8, (3, 8)), 2, [1.0, 1.0], [2.0, 2.0]),
    ]


def gather_several(rank):
    """By one exchange of sizes, which a GPU's host waits for."""
    own, exchanged = own_rows(rank), []
    all_gather = dist.all_gather

    def counting(parts, tensor):
        exchanged.append(tensor.shape)
        all_gather(parts, tensor)

    dist.all_gather = counting
    joint = JointBatch.of(own)
    first, second = joint.gather(own, own[:, 0])
    third = joint.gather_with_gradient(own)
    with pytest.raises(ValueError, match=f"Expected {SIZES[rank]} rows"):
        joint.gather(own[1:])
    same = torch.equal(first, third) and torch.equal(first[:, 0], second)
    return same, [list(shape) for shape in exchanged]


def test_a_joint_batch_exchanges_sizes_once(run_ranks):
    expected = True, [[1], [5, 2], [5], [5, 2]]
    assert run_ranks(gather_several) == [expected, expected]


def gather_an_empty_batch(rank):
    rows = torch.full((2 * rank, 2), 7.0)
    return gather_rows(rows)[0].tolist()


def test_a_rank_may_have_no_rows(run_ranks):
    assert run_ranks(gather_an_empty_batch) == [[[7.0, 7.0]] * 2] * 2


def single(rank):
    rows = torch.ones(2, 2, requires_grad=True)
    return (
        is_distributed(),
        JointBatch.of(rows).gather_with_gradient(rows) is rows,
        JointBatch.of(rows).start,
        dist.get_world_size(),
    )


def test_a_process_group_of_one_rank_changes_nothing(run_ranks):
    assert run_ranks(single, world_size=1) == [(False, True, 0, 1)]


def test_one_process_gathers_what_it_holds():
    rows = torch.ones(2, 2, requires_grad=True)
    assert JointBatch.of(rows).gather_with_gradient(rows) is rows
    (gathered,) = gather_rows(rows)
    assert not gathered.requires_grad
    assert gathered.data_ptr() == rows.data_ptr()
