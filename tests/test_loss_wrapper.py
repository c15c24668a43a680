"""PositiveSamplingLoss: the bare loss on what the sampler gives."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import (
    CentroidSampling,
    ClusteringSampling,
    NearestNeighborSampling,
    NTXentLoss,
    PositiveSampler,
    PositiveSamplingLoss,
    SameUtterancePositives,
)
from ssps_plugin.losses import VICRegLoss

NUM, DIM = 10, 4
IDS = [str(i) for i in range(NUM)]


def rows(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(NUM, DIM, generator=generator)


def references():
    return F.normalize(rows(9), dim=1)


def sampler_of(strategy=None, start_epoch=2):
    strategy = strategy or NearestNeighborSampling(3)
    sampler = PositiveSampler(strategy, NUM, DIM, DIM, start_epoch)
    sampler.bind(IDS)
    return sampler


def started(strategy=None):
    sampler = sampler_of(strategy)
    sampler.begin_epoch(1)
    sampler(IDS, references(), rows(8))
    sampler.begin_epoch(2)
    return sampler


def with_gradients(loss, **operands):
    leaves = [rows(seed).requires_grad_() for seed in (0, 1)]
    value = loss(*leaves, **operands)
    return value.detach(), *torch.autograd.grad(value, leaves)


def assert_bit_for_bit(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_ssps_off_equals_the_bare_loss_bit_for_bit(epoch):
    clustering = ClusteringSampling(3, 1)
    sampler = sampler_of(clustering, start_epoch=4)  # 3 fills the memories
    sampler.begin_epoch(epoch)
    loss = PositiveSamplingLoss(NTXentLoss(), sampler, True)
    found = with_gradients(loss, ids=IDS, reference=references())
    assert_bit_for_bit(found, with_gradients(NTXentLoss()))


@pytest.mark.parametrize("loss", [VICRegLoss(), lambda a, b: (a * b).sum()])
def test_masks_for_a_loss_without_negatives_are_refused(loss):
    sampler = sampler_of(ClusteringSampling(3, 1))
    with pytest.raises(ValueError, match="mask_false_negatives to False"):
        PositiveSamplingLoss(loss, sampler, mask_false_negatives=True)


def test_a_loss_that_takes_anything_takes_masks():
    sampler = sampler_of(ClusteringSampling(3, 1))
    PositiveSamplingLoss(lambda a, b, **_: (a * b).sum(), sampler, True)


def test_masks_by_clusters_that_a_strategy_does_not_have_are_refused():
    with pytest.raises(ValueError, match="got NearestNeighborSampling"):
        PositiveSamplingLoss(NTXentLoss(), sampler_of(), True)


@pytest.mark.parametrize("training", [True, False])
def test_same_utterance_positives_equal_the_bare_loss(training):
    loss = PositiveSamplingLoss(NTXentLoss(), SameUtterancePositives(), True)
    found = with_gradients(loss.train(training), ids=IDS)
    assert_bit_for_bit(found, with_gradients(NTXentLoss()))


def test_outside_training_it_is_the_bare_loss_without_ids():
    sampler = started(ClusteringSampling(3, 1))
    loss = PositiveSamplingLoss(NTXentLoss(), sampler, True).eval()
    assert_bit_for_bit(with_gradients(loss), with_gradients(NTXentLoss()))


def test_substituting_by_hand_gives_the_same_loss():
    sampler = started()
    loss = PositiveSamplingLoss(NTXentLoss(), sampler)
    found = with_gradients(loss, ids=IDS, reference=references())
    drawn = sampler.last_draw[1]
    assert (drawn >= 0).all()
    # The queue held rows(8), utterance by utterance.
    expected = NTXentLoss()(rows(0), rows(8)[drawn])
    assert torch.equal(found[0], expected)
    assert not found[2].any()  # no gradient to positives that were replaced


def test_only_own_positives_get_a_gradient():
    sampler = started(ClusteringSampling(6, 0))
    loss = PositiveSamplingLoss(NTXentLoss(), sampler)
    _, _, gradient = with_gradients(loss, ids=IDS, reference=references())
    own = sampler.last_draw[1] < 0
    assert own.any()
    assert not own.all()
    assert torch.equal(gradient.abs().sum(1) > 0, own)


def test_false_negatives_are_masked_by_where_each_view_comes_from():
    strategy = ClusteringSampling(3, 1)
    sampler = started(strategy)
    loss = PositiveSamplingLoss(NTXentLoss(), sampler, True)
    (found, *_) = with_gradients(loss, ids=IDS, reference=references())
    drawn = sampler.last_draw[1]
    positives = torch.where((drawn >= 0)[:, None], rows(8)[drawn], rows(1))
    clusters = sampler.clusters()
    expected = NTXentLoss()(
        rows(0),
        positives,
        groups=clusters,
        positive_groups=torch.where(drawn >= 0, clusters[drawn], clusters),
    )
    assert torch.equal(found, expected)
    assert expected < NTXentLoss()(rows(0), positives)


def test_a_centroid_that_was_taken_is_of_its_own_cluster():
    strategy = CentroidSampling(3, 1)
    sampler = started(strategy)
    loss = PositiveSamplingLoss(NTXentLoss(), sampler, True)
    substituted, groups = loss.substitute(rows(1), IDS, references())
    taken = (substituted[:, None] == strategy.centroids).all(2)
    assert (taken.sum(1) == 1).all()
    assert torch.equal(groups["positive_groups"], taken.long().argmax(1))
    assert torch.equal(groups["groups"], sampler.clusters())
    # The nearest other cluster, never the anchor's own.
    assert (groups["groups"] != groups["positive_groups"]).all()


def test_masking_is_left_out_when_not_asked_for():
    groups = []

    def spy(anchors, positives, **operands):
        groups.append(operands)
        return anchors.sum()

    for asked in (False, True):
        loss = PositiveSamplingLoss(
            spy, started(ClusteringSampling(3, 1)), asked
        )
        loss(rows(0), rows(1), ids=IDS, reference=references(), margin=2)
    assert groups[0] == {"margin": 2}
    assert groups[1].keys() == {"margin", "groups", "positive_groups"}


def test_a_queue_as_large_as_the_batch_holds_the_last_step():
    # With queue == batch and the one nearest neighbour, positives are those
    # of the step before, permuted.
    sampler = started(NearestNeighborSampling(1))
    similarity = references() @ references().T
    nearest = similarity.fill_diagonal_(-2).argmax(1)
    loss = PositiveSamplingLoss(NTXentLoss(), sampler)
    for seed in range(1, 4):
        last = rows(8 if seed == 1 else seed - 1)
        found = loss(rows(0), rows(seed), ids=IDS, reference=references())
        assert torch.equal(found, NTXentLoss()(rows(0), last[nearest]))


def test_a_wrong_reference_is_found_in_the_first_step():
    loss = PositiveSamplingLoss(NTXentLoss(), sampler_of(start_epoch=101))
    loss.sampler.begin_epoch(1)
    assert loss.sampler.needs_reference
    with pytest.raises(ValueError, match="change reference_dim"):
        loss(rows(0), rows(1), IDS, torch.ones(NUM, DIM + 1))
    found = loss(rows(0), rows(1), IDS, references())
    assert torch.equal(found, NTXentLoss()(rows(0), rows(1)))
    assert not loss.sampler.needs_reference


class Criterion(torch.nn.Module):
    """As lightly's are called: `criterion(out0, out1)`."""

    def forward(self, out0, out1):
        cosines = F.normalize(out0, dim=1) @ F.normalize(out1, dim=1).T
        return F.cross_entropy(cosines / 0.5, torch.arange(len(cosines)))


def metric_loss(embeddings, labels, ref_emb, ref_labels):
    """As pytorch-metric-learning's: labels say who belongs together."""
    same = labels[:, None] == ref_labels[None]
    distances = torch.cdist(embeddings, ref_emb)
    return distances[same].mean() + F.relu(1 - distances[~same]).mean()


def as_pair(loss):
    """Label a batch by its positions, for a loss that asks for labels."""

    def on_pairs(anchors, positives):
        labels = torch.arange(len(anchors))
        return loss(anchors, labels, ref_emb=positives, ref_labels=labels)

    return on_pairs


@pytest.mark.parametrize(
    "bare",
    [Criterion(), as_pair(metric_loss), torch.nn.CosineEmbeddingLoss()],
    ids=["lightly", "pytorch-metric-learning", "torch"],
)
def test_losses_of_other_libraries_get_the_substituted_positives(bare):
    operands = {}
    if isinstance(bare, torch.nn.CosineEmbeddingLoss):
        operands = {"target": torch.ones(NUM)}
    anchors, positives = rows(0), rows(1)
    drawn = started()(IDS, references(), positives)
    assert not torch.equal(drawn, positives)
    loss = PositiveSamplingLoss(bare, started())
    found = loss(anchors, positives, IDS, references(), **operands)
    assert torch.equal(found, bare(anchors, drawn, **operands))
    # And it is the bare loss before SSPS has started.
    early = sampler_of(start_epoch=3)
    early.begin_epoch(1)
    loss = PositiveSamplingLoss(bare, early)
    found = loss(anchors, positives, IDS, references(), **operands)
    assert torch.equal(found, bare(anchors, positives, **operands))
