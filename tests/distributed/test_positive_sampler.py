"""PositiveSampler on two ranks against one that sees the joint batch."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    ClusteringSampling,
    ConsensusSampling,
    NearestNeighborSampling,
    PositiveSampler,
    SharedNeighborSampling,
)

NUM, DIM = 30, 5

STRATEGIES = {
    "clustering": lambda: ClusteringSampling(6, 1),
    "whitened": lambda: ClusteringSampling(6, 2, whitening=0.5),
    "nearest": lambda: NearestNeighborSampling(4),
    "nearest in lists": lambda: NearestNeighborSampling(
        4, search="faiss", num_lists=4, num_probes=2
    ),
    "shared": lambda: SharedNeighborSampling(8, 0.1),
    "auto": lambda: ClusteringSampling(6, 1),
    "consensus": lambda: ConsensusSampling(6, 1, num_clusterings=3),
    "clustering, read": lambda: ClusteringSampling(6, 1),
    "shared, read": lambda: SharedNeighborSampling(8, 0.1),
}
# Of the sampler, by the strategy.
OPTIONS = {
    "consensus": {"coverage": [0.4, 0.8], "schedule_epochs": 2},
    "auto": {"coverage": "auto"},
    "whitened": {"reference_interval": 2},
    "clustering, read": {"pseudo_positives": "read", "coverage": "auto"},
    "shared, read": {"pseudo_positives": "read"},
}


def joint_steps(epoch):
    """Steps of 10 rows with repeats and, now and then, a NaN."""
    for number in range(6):
        generator = torch.Generator().manual_seed(10 * epoch + number)
        index = torch.randint(NUM, (10,), generator=generator)
        index[:5] = torch.arange(5 * number, 5 * number + 5)
        reference = torch.randn(10, DIM, generator=generator)
        positives = torch.randn(2, 10, 3, generator=generator)
        if number == 2:
            reference[7, 0] = float("nan")
        yield index, F.normalize(reference, dim=1), positives


def train(strategy, rows_of_step):
    sampler = PositiveSampler(
        STRATEGIES[strategy](),
        20,
        DIM,
        3,
        start_epoch=2,
        num_targets=2,
        **OPTIONS.get(strategy, {}),
    )
    sampler.bind([str(i) for i in range(NUM)])
    drawn, last_draws = [], []
    for epoch in (1, 2, 3):
        sampler.begin_epoch(epoch)
        for number, step in enumerate(joint_steps(epoch)):
            index, reference, positives = step
            rows = rows_of_step(number)
            drawn.append(
                sampler(index[rows], reference[rows], positives[:, rows])
            )
            last_draws.append(sampler.last_draw[1])
    state = sampler.state_dict()
    tensors = {k: v.numpy() for k, v in state.items() if torch.is_tensor(v)}
    return (
        tensors,
        [part.numpy() for part in drawn],
        [part.tolist() for part in last_draws],
        sampler.metrics(),
    )


def on_a_rank(rank, strategy, first_sizes):
    def rows_of_step(number):
        size = first_sizes[number % len(first_sizes)]
        return slice(size) if rank == 0 else slice(size, None)

    return train(strategy, rows_of_step)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_hold_the_memories_and_draws_of_the_joint_batch(
    run_ranks, strategy
):
    first, second = run_ranks(on_a_rank, strategy, (5, 3, 9, 6))
    expected = train(strategy, lambda number: slice(None))
    for rank in (first, second):
        for name, value in expected[0].items():
            found, value = torch.tensor(rank[0][name]), torch.tensor(value)
            # A matrix product of another batch may round differently; the
            # scratch rows may hold NaN.
            torch.testing.assert_close(found, value, equal_nan=True)
        assert rank[2] == expected[2]
        assert rank[3] == expected[3]
    for ours, theirs, joint in zip(
        first[1], second[1], expected[1], strict=True
    ):
        together = torch.cat([torch.tensor(ours), torch.tensor(theirs)], 1)
        assert torch.equal(together, torch.tensor(joint))


def too_large(rank):
    sampler = PositiveSampler(NearestNeighborSampling(1), 5, DIM, 3, 2)
    sampler.bind([str(i) for i in range(NUM)])
    sampler.begin_epoch(1)
    index = torch.arange(3) + 3 * rank
    try:
        sampler(index, torch.ones(3, DIM), torch.ones(3, 3))
    except ValueError as error:
        return str(error)
    return "no error"


def test_the_joint_batch_must_fit_the_queue(run_ranks):
    for message in run_ranks(too_large):
        assert "A step brings 6 utterances (over all ranks)" in message
