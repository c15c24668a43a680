"""What utterances draw in an epoch, against a loop over the members."""

import pytest
import torch

from ssps_plugin.memory import PositiveQueue
from ssps_plugin.sampling.cluster_draws import ClusterDraws

NUM, NUM_CLUSTERS = 40, 7


def slot_by_loop(clusters, cluster, uniform, anchor, queue):
    """Members with a slot in the order of the utterances, the anchor not."""
    held = queue.utterances.tolist()
    eligible = [
        utterance
        for utterance in range(NUM)
        if clusters[utterance] == cluster
        and utterance in held
        and utterance != anchor
    ]
    if cluster < 0 or not eligible:
        return -1
    return held.index(eligible[int(uniform * len(eligible))])


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("queued", [0, 1, 15, NUM])
def test_equals_a_loop(own, queued):
    generator = torch.Generator().manual_seed(queued)
    clusters = torch.randint(-1, NUM_CLUSTERS - 1, (NUM,), generator=generator)
    drawn = clusters if own else (clusters + 1) % NUM_CLUSTERS
    drawn = torch.where(clusters < 0, -1, drawn)
    uniform = torch.rand(NUM, generator=generator, dtype=torch.double)
    queue = PositiveQueue(NUM, 1)
    queue.allocate(NUM)
    index = torch.randperm(NUM, generator=generator)
    if queued:
        queue.enqueue(index[:queued], torch.zeros(1, queued, 1))
    draws = ClusterDraws(clusters, NUM_CLUSTERS, drawn, uniform)
    expected = [
        slot_by_loop(clusters, drawn[i], float(uniform[i]), i, queue)
        for i in index.tolist()
    ]
    assert draws.select(index, queue).tolist() == expected
