"""MoCo: queries, keys, and the momentum network that encodes the keys."""

import pytest
import torch
from torch import nn

from ssps_plugin import (
    NearestNeighborSampling,
    PositiveSampler,
    PositiveSamplingLoss,
)
from ssps_plugin.frameworks import EmbeddingModel, MoCo
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.losses import MoCoLoss, NegativeQueue


class Features(nn.Module):
    """Samples to frames of two bands."""

    def forward(self, wavs):
        return wavs.unflatten(1, (-1, 2))


class Normalization(nn.Module):
    def forward(self, features, lengths):
        return features


class Encoder(nn.Module):
    """A mean over frames, normalised by batch, `(batch, 1, dim)`."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, features, lengths):
        return self.norm(self.linear(features).tanh().mean(1))[:, None]


def moco(momentum=0.9, **options):
    torch.manual_seed(0)
    model = EmbeddingModel(Features(), Normalization(), Encoder())
    return MoCo(model, MomentumSchedule(momentum), **options)


def views(batch=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, 8, generator=generator)


def move(framework, seed=2):
    """Change the query network as an optimiser would."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in (
        *framework.embedding_model.parameters(),
        *framework.projector.parameters(),
    ):
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.5 * noise


def test_each_view_is_query_with_the_key_of_the_other():
    framework = moco().eval()
    move(framework)
    batch = views()
    queries, keys = framework(batch)
    for row in range(4):
        for direction in range(2):
            one, other = batch[row, direction], batch[row, 1 - direction]
            query = framework.embedding_model(one[None])[0]
            key = framework.key_embedding_model(other[None])[0]
            torch.testing.assert_close(queries[direction, row], query)
            torch.testing.assert_close(keys[direction, row], key)


def test_both_networks_start_alike():
    queries, keys = moco(projector=nn.Linear(3, 2))(views())
    torch.testing.assert_close(queries[0], keys[1])
    torch.testing.assert_close(queries[1], keys[0])


def test_gradient_reaches_the_query_network_and_no_other():
    framework = moco(projector=nn.Linear(3, 2))
    queries, keys = framework(views())
    assert not keys.requires_grad
    (queries * torch.randn(queries.shape)).sum().backward()
    for name, parameter in framework.named_parameters():
        is_key = name.startswith("key_")
        assert parameter.requires_grad != is_key, name
        assert (parameter.grad is None) == is_key, name


def test_the_projector_comes_after_the_embedding_which_is_the_querys():
    framework = moco(projector=nn.Linear(3, 2)).eval()
    move(framework)
    batch = views()
    queries, keys = framework(batch)
    embeddings = framework.embed(batch[:, 0])
    torch.testing.assert_close(queries[0], framework.projector(embeddings))
    of_keys = framework.key_embedding_model(batch[:, 0])
    torch.testing.assert_close(keys[1], framework.key_projector(of_keys))
    assert queries.shape == keys.shape == (2, 4, 2)
    found = framework.first_view_embedding
    torch.testing.assert_close(found, embeddings.detach())
    assert not found.requires_grad


def test_lengths_reach_the_encoder():
    seen = []

    class Spy(Encoder):
        def forward(self, features, lengths):
            seen.append(lengths)
            return super().forward(features, lengths)

    framework = MoCo(
        EmbeddingModel(Features(), Normalization(), Spy()),
        MomentumSchedule(0.9),
    )
    given = torch.tensor([1.0, 0.5])
    framework.embed(torch.randn(2, 8), given)
    assert torch.equal(seen[0], given)


@pytest.mark.parametrize("average_buffers", [False, True])
def test_keys_follow_by_the_closed_form_over_several_steps(average_buffers):
    framework = moco(
        0.8, projector=nn.Linear(3, 2), average_buffers=average_buffers
    )
    query, key = framework.embedding_model, framework.key_embedding_model
    expected = [
        parameter.detach().clone()
        for parameter in (
            *query.parameters(),
            *framework.projector.parameters(),
        )
    ]
    mean = torch.zeros(3)
    for step in range(5):
        move(framework, seed=step)
        framework.train()(views(seed=step))
        own = key.encoder.norm.running_mean.clone()
        if average_buffers:  # its own batches move nothing
            torch.testing.assert_close(own, mean)
        framework.update(progress=step / 5)
        now = (*query.parameters(), *framework.projector.parameters())
        expected = [
            0.8 * old + 0.2 * new.detach()
            for old, new in zip(expected, now, strict=True)
        ]
        averaged = 0.8 * own + 0.2 * query.encoder.norm.running_mean
        mean = averaged if average_buffers else own
        torch.testing.assert_close(key.encoder.norm.running_mean, mean)
    found = (*key.parameters(), *framework.key_projector.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_momentum_follows_its_schedule():
    model = EmbeddingModel(Features(), Normalization(), Encoder())
    framework = MoCo(model, MomentumSchedule(0.5, 1.0))
    before = framework.key_embedding_model.encoder.linear.bias.clone()
    move(framework)
    framework.update(progress=1.0)
    bias = framework.key_embedding_model.encoder.linear.bias
    assert torch.equal(bias, before)
    framework.update(progress=0.0)
    now = framework.embedding_model.encoder.linear.bias
    torch.testing.assert_close(bias, (before + now) / 2)


def test_one_process_shuffles_nothing():
    framework = moco().train()
    framework(views())
    assert framework.num_shuffles == 0


def test_a_resume_goes_on_with_the_count_of_shuffles():
    framework, resumed = moco(), moco()
    framework.num_shuffles = 5
    resumed.load_state_dict(framework.state_dict())
    assert resumed.num_shuffles == 5


def train(sampler, steps):
    """Losses of SSPS steps on fixed batches, and what they compared."""
    framework, negatives = moco(), NegativeQueue(8, 3)
    loss = PositiveSamplingLoss(MoCoLoss(0.1), sampler)
    losses, compared = [], []
    for number, ids in steps:
        queries, keys = framework(views(len(ids), seed=number))
        generator = torch.Generator().manual_seed(number)
        reference = torch.randn(len(ids), 4, generator=generator)
        reference = nn.functional.normalize(reference, dim=-1)
        substituted, _ = loss.substitute(keys, ids, reference)
        losses.append(loss.loss(queries, substituted, negatives))
        compared.append((queries, keys, substituted))
        negatives.update(substituted.detach())
    return losses, compared, negatives


def test_a_drawn_key_counts_exactly_as_one_put_there_by_hand():
    ids = ["a", "b", "c", "d"]
    sampler = PositiveSampler(
        NearestNeighborSampling(1),
        queue_size=4,
        reference_dim=4,
        positive_dim=3,
        start_epoch=2,
        num_targets=2,
    )
    sampler.bind(ids)
    sampler.begin_epoch(1)
    _, ((_, remembered, _),), _ = train(sampler, [(0, ids)])
    sampler.begin_epoch(2)
    # One step to fill the negatives and one in which they count.
    losses, compared, negatives = train(sampler, [(1, ids), (2, ids)])
    queries, keys, substituted = compared[0]
    index, drawn = torch.arange(4), sampler.last_draw[1]
    assert (drawn >= 0).all() and (drawn != index).all()
    for _, keys, substituted in compared[:1]:
        # All keys of both views come from the memory of the first epoch.
        assert not torch.equal(keys, substituted)
        rows = {tuple(row) for row in remembered[0].tolist()}
        assert {tuple(row) for row in substituted[0].tolist()} <= rows
    # By hand: the second step's queries against what was drawn, and the
    # negatives of the first step, which are substituted keys too.
    queries, _, drawn_keys = compared[1]
    by_hand = NegativeQueue(8, 3)
    by_hand.update(compared[0][2])
    expected = MoCoLoss(0.1)(queries, drawn_keys, by_hand)
    assert torch.equal(losses[1], expected)
    assert losses[1] != MoCoLoss(0.1)(queries, compared[1][1], by_hand)
    by_hand.update(compared[1][2])
    assert torch.equal(negatives.keys, by_hand.keys)


@pytest.mark.parametrize("shape", [(4, 8), (4, 1, 8), (4, 3, 8)])
def test_other_than_two_views_are_an_error(shape):
    with pytest.raises(ValueError, match="Expected one group of two views"):
        moco()(torch.randn(shape))


def test_views_apart_equal_two_passes_of_each_network_by_hand():
    framework = moco(projector=nn.Linear(3, 2), views_together=False).double()
    by_hand = moco(projector=nn.Linear(3, 2)).double()
    by_hand.load_state_dict(framework.state_dict())
    batch = views().double()
    queries, keys = framework.train()(batch)
    by_hand.train()
    for view in (0, 1):
        wavs = batch[:, view]
        query = by_hand.projector(by_hand.embedding_model(wavs))
        torch.testing.assert_close(queries[view], query)
        key = by_hand.key_projector(by_hand.key_embedding_model(wavs))
        # The key of a view is the positive of the other view's query.
        torch.testing.assert_close(keys[1 - view], key)
    torch.testing.assert_close(framework.state_dict(), by_hand.state_dict())
    together = moco(projector=nn.Linear(3, 2)).double().train()
    assert not torch.allclose(together(batch)[0], queries)
