"""MoCo on two ranks: the joint batch's loss, shuffled batch norm."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssps_plugin.distributed import sum_over_ranks, world_size
from ssps_plugin.frameworks import EmbeddingModel, MoCo
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.losses import MoCoLoss, NegativeQueue

BATCH, DIM = 6, 3
GROUPS = torch.tensor([0, 1, 0, 2, 1, -1])


class Frames(nn.Module):
    def forward(self, wavs, lengths=None):
        return wavs.unflatten(1, (-1, 2)) if lengths is None else wavs


class Encoder(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.linear = nn.Linear(2, DIM)
        self.norm = norm

    def forward(self, features, lengths):
        return self.norm(self.linear(features).tanh().mean(1))[:, None]


def moco(norm, **options):
    torch.manual_seed(0)
    model = EmbeddingModel(Frames(), Frames(), Encoder(norm))
    return MoCo(model, MomentumSchedule(0.5), **options)


def views(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(BATCH, 2, 8, generator=generator)


def train(framework, rows_of_step, grouped, wrapper=None):
    """Four steps of SGD: losses, gradients, the queue, the key network."""
    wrapped = framework if wrapper is None else wrapper(framework)
    negatives = NegativeQueue(10, DIM)
    optimizer = torch.optim.SGD(framework.parameters(), lr=0.5)
    losses, gradients = [], []
    for step in range(4):
        rows = rows_of_step(step)
        groups = GROUPS[rows] if grouped else None
        queries, keys = wrapped(views(step)[rows])
        loss = MoCoLoss(0.2)(queries, keys, negatives, groups)
        optimizer.zero_grad()
        loss.backward()
        negatives.update(keys, groups)
        weight = framework.embedding_model.encoder.linear.weight
        if wrapper is None and world_size() > 1:
            for parameter in framework.embedding_model.parameters():
                parameter.grad = sum_over_ranks(parameter.grad) / world_size()
        gradients.append(weight.grad.tolist())
        optimizer.step()
        framework.update(progress=0.0)
        losses.append(loss.item())
    state = {name: v.tolist() for name, v in negatives.state_dict().items()}
    weight = framework.key_embedding_model.encoder.linear.weight
    return losses, gradients, state, weight.tolist()


# Without batch norm, views apart are trained as views together.
VARIANTS = [(False, {}), (True, {}), (False, {"views_together": False})]


def on_a_rank(rank, wrapper):
    def rows_of_step(step):
        size = (3, 1, 4, 2)[step]
        return slice(size) if rank == 0 else slice(size, None)

    return [
        train(moco(nn.Identity(), **options), rows_of_step, grouped, wrapper)
        for grouped, options in VARIANTS
    ]


def close(found, expected):
    torch.testing.assert_close(
        torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    "wrapper",
    # Wrapping takes seconds.
    [None, pytest.param(DistributedDataParallel, marks=pytest.mark.slow)],
)
def test_two_ranks_train_as_one_with_the_joint_batch(run_ranks, wrapper):
    ranks = run_ranks(on_a_rank, wrapper)
    for (grouped, _), first, second in zip(VARIANTS, *ranks, strict=True):
        expected = train(moco(nn.Identity()), lambda step: slice(None), grouped)
        assert_trained_alike(first, second, *expected)


def assert_trained_alike(first, second, losses, gradients, state, weight):
    assert losses[0] == 0.0 and losses[1] > 0
    mean = (torch.tensor(first[0]) + torch.tensor(second[0])) / 2
    close(mean.tolist(), losses)
    for rank in (first, second):
        close(rank[1], gradients)
        close(rank[3], weight)
        for name, value in state.items():
            close(rank[2][name], value)
    assert first[1:] == second[1:]  # queues alike to the bit


def shuffled(rank, first_sizes, num_before):
    """Keys and statistics of steps whose key network has batch norm."""
    framework = moco(nn.BatchNorm1d(DIM, momentum=1.0)).train()
    framework.num_shuffles = num_before
    results = []
    for step, size in enumerate(first_sizes):
        rows = slice(size) if rank == 0 else slice(size, None)
        _, keys = framework(views(step)[rows])
        norm = framework.key_embedding_model.encoder.norm
        results.append((keys.tolist(), norm.running_mean.tolist()))
    return results, framework.num_shuffles


def features_of(framework, wavs):
    encoder = framework.key_embedding_model.encoder
    return encoder.linear(wavs.unflatten(1, (-1, 2))).tanh().mean(1)


def expected_keys(step, size, num_shuffles):
    """What each rank should get, computed in one process, row by row."""
    framework = moco(nn.BatchNorm1d(DIM))
    batch = views(step)
    # Views as the ranks bring them: rank by rank, view by view.
    brought = [
        (row, view)
        for rows in (range(size), range(size, BATCH))
        for view in range(2)
        for row in rows
    ]
    order = order_of(num_shuffles)
    encoded, means = {}, []
    for places in (order[: 2 * size], order[2 * size :]):
        share = [brought[place] for place in places]
        wavs = torch.stack([batch[row, view] for row, view in share])
        hidden = features_of(framework, wavs)
        means.append(hidden.mean(0))
        normed = (hidden - hidden.mean(0)) / (
            hidden.var(0, False) + 1e-5
        ).sqrt()
        encoded |= dict(zip(share, normed, strict=True))
    keys = [
        [torch.stack([encoded[row, 1 - d] for row in rows]) for d in range(2)]
        for rows in (range(size), range(size, BATCH))
    ]
    return keys, means


def order_of(num_shuffles):
    framework = moco(nn.Identity())
    framework.num_shuffles = num_shuffles
    return framework._draw_permutation(2 * BATCH).tolist()


def test_keys_come_back_in_order_with_statistics_of_the_shuffled_share(
    run_ranks,
):
    sizes = (3, 2, 3)
    ranks = run_ranks(shuffled, sizes, 0)
    for step, size in enumerate(sizes):
        keys, means = expected_keys(step, size, step)
        for rank in range(2):
            found_keys, found_mean = ranks[rank][0][step]
            close(found_keys, torch.stack(keys[rank]).tolist())
            close(found_mean, means[rank].tolist())
    assert ranks[0][1] == ranks[1][1] == 3


def test_a_resume_shuffles_as_the_whole_run_does(run_ranks):
    orders = {tuple(order_of(step)) for step in range(9)}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(2 * BATCH)) for order in orders)
    ranks = run_ranks(shuffled, (3,), 4)
    keys, _ = expected_keys(0, 3, 4)
    for rank in range(2):
        close(ranks[rank][0][0][0], torch.stack(keys[rank]).tolist())


def evaluated(rank):
    framework = moco(nn.BatchNorm1d(DIM)).eval()
    # Ranks need not even take part together.
    keys = None if rank else framework(views(0))[1].tolist()
    return keys, framework.num_shuffles


def test_evaluation_shuffles_nothing(run_ranks):
    (keys, count), _ = run_ranks(evaluated)
    expected = moco(nn.BatchNorm1d(DIM)).eval()(views(0))[1]
    close(keys, expected.tolist())
    assert count == 0


def too_many(rank):
    try:
        NegativeQueue(5, DIM).update(torch.ones(2, 3, DIM))
    except ValueError as error:
        return str(error)
    return "no error"


def test_the_joint_batch_must_fit_the_queue(run_ranks):
    for message in run_ranks(too_many):
        assert (
            "(over all ranks), the slots of the queue of negatives, got 6"
            in message
        )
