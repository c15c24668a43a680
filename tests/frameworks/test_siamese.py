"""SimCLR, SwAV and VICReg: which view becomes what, in one pass or two."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin.frameworks import EmbeddingModel, SimCLR, SwAV, VICReg


class Features(nn.Module):
    """Samples to frames of two bands."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, wavs):
        self.calls += 1
        return wavs.unflatten(1, (-1, 2))


class Normalization(nn.Module):
    def forward(self, features, lengths):
        return features - features.mean(1, keepdim=True)


class Encoder(nn.Module):
    """Mean of the frames within the relative length, `(batch, 1, dim)`."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, features, lengths):
        if lengths is None:  # all are full
            lengths = torch.ones(len(features))
        num_frames = features.shape[1]
        frames = torch.arange(num_frames)
        inside = (frames < lengths[:, None] * num_frames).float()
        hidden = self.linear(features).relu() * inside[:, :, None]
        return hidden.sum(1, keepdim=True) / inside.sum(1)[:, None, None]


class Mean(nn.Module):
    """Means of an utterance's two halves, in place of an embedding model."""

    def forward(self, wavs, lengths=None):
        return wavs.unflatten(1, (2, -1)).mean(-1)


def simclr(projector=None):
    torch.manual_seed(0)
    model = EmbeddingModel(Features(), Normalization(), Encoder())
    return SimCLR(model, projector)


def swav():
    torch.manual_seed(0)
    return SwAV(Mean(), nn.Linear(2, 3))


def test_the_first_view_is_the_anchor_and_the_second_the_positive():
    framework = simclr()
    views = torch.randn(4, 2, 8)
    anchors, positives = framework(views)
    for row in range(4):
        for found, view in ((anchors, 0), (positives, 1)):
            alone = framework.embed(views[row, view][None])
            torch.testing.assert_close(found[row], alone[0])


def test_both_views_take_one_pass():
    framework = simclr()
    framework(torch.randn(4, 2, 8))
    assert framework.embedding_model.features.calls == 1


def test_the_projector_comes_after_the_embedding():
    projector = nn.Linear(3, 2)
    framework = simclr(projector)
    views = torch.randn(4, 2, 8)
    anchors, positives = framework(views)
    torch.testing.assert_close(anchors, projector(framework.embed(views[:, 0])))
    torch.testing.assert_close(
        positives, projector(framework.embed(views[:, 1]))
    )
    assert framework.embed(views[:, 0]).shape == (4, 3)
    # What may be taken for a reference is the embedding, without gradient.
    found = framework.first_view_embedding
    torch.testing.assert_close(found, framework.embed(views[:, 0]).detach())
    assert not found.requires_grad


def test_both_views_pass_their_gradient_to_simclrs_encoder():
    framework = simclr()
    views = torch.randn(4, 2, 8)
    anchors, positives = framework(views)
    for part in (anchors, positives):
        (gradient,) = torch.autograd.grad(
            part.sum(),
            [framework.embedding_model.encoder.linear.weight],
            retain_graph=True,
        )
        assert gradient.abs().sum() > 0


def test_lengths_reach_the_encoder_and_are_full_when_left_out():
    framework = simclr()
    wavs = torch.randn(2, 8)
    full = framework.embed(wavs, torch.ones(2))
    assert torch.equal(framework.embed(wavs), full)
    half = framework.embed(wavs, torch.tensor([1.0, 0.5]))
    assert torch.equal(half[0], full[0])
    assert not torch.equal(half[1], full[1])


def test_an_embedding_of_one_utterance_keeps_its_batch():
    assert simclr().embed(torch.randn(1, 8)).shape == (1, 3)


@pytest.mark.parametrize("framework", [simclr, swav])
@pytest.mark.parametrize("shape", [(4, 8), (4, 1, 8), (4, 3, 8)])
def test_other_than_two_views_are_an_error(framework, shape):
    with pytest.raises(ValueError, match="Expected one group of two views"):
        framework()(torch.randn(shape))


def test_swav_projects_and_normalises_features_but_not_embeddings():
    framework, views = swav(), torch.randn(4, 2, 8)
    for view, found in enumerate(framework(views)):
        projected = framework.projector(Mean()(views[:, view]))
        torch.testing.assert_close(found, F.normalize(projected, dim=1))
    assert torch.equal(framework.embed(views[:, 0]), Mean()(views[:, 0]))


def test_swavs_features_are_float32_of_unit_norm_under_autocast():
    framework = swav()
    with torch.autocast("cpu", torch.bfloat16):
        sides = framework(torch.randn(4, 2, 8))
    for side in sides:
        assert side.dtype == torch.float32
        torch.testing.assert_close(side.norm(dim=1), torch.ones(4))


def test_both_sides_pass_their_gradient_to_swavs_projector():
    framework, views = swav(), torch.randn(4, 2, 8)
    for side in framework(views):
        (gradient,) = torch.autograd.grad(
            side.sum(), framework.projector.weight, retain_graph=True
        )
        assert gradient.abs().sum() > 0


def test_vicreg_projects_pairs_but_not_embeddings():
    projector = nn.Linear(2, 3)
    framework = VICReg(Mean(), projector)
    views = torch.randn(4, 2, 8)
    anchors, positives = framework(views)
    torch.testing.assert_close(anchors, projector(Mean()(views[:, 0])))
    torch.testing.assert_close(positives, projector(Mean()(views[:, 1])))
    assert torch.equal(framework.embed(views[:, 0]), Mean()(views[:, 0]))


def test_a_batch_norm_of_the_projector_sees_both_views():
    projector = nn.BatchNorm1d(2)
    views = torch.randn(4, 2, 8)
    framework = VICReg(Mean(), projector)
    together = torch.cat(framework(views))
    torch.testing.assert_close(
        together.mean(0), torch.zeros(2), atol=1e-6, rtol=0
    )


class NormalizedEncoder(Encoder):
    """An encoder with batch norm, in float64."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.double()

    def forward(self, features, lengths):
        return self.norm(self.linear(features).relu().mean(1))[:, None]


def with_batch_norm(kind, **options):
    torch.manual_seed(0)
    model = EmbeddingModel(Features(), Normalization(), NormalizedEncoder())
    projector = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    return kind(model, projector, **options)


@pytest.mark.parametrize("kind", [SimCLR, SwAV, VICReg])
def test_views_apart_equal_two_calls_by_hand(kind):
    framework = with_batch_norm(kind, views_together=False)
    by_hand = copy.deepcopy(framework)
    views = torch.randn(5, 2, 8, dtype=torch.float64)
    found = framework(views)
    expected = [
        by_hand.projector(by_hand.embedding_model(views[:, view]))
        for view in (0, 1)
    ]
    if kind is SwAV:
        expected = [F.normalize(side.float(), dim=1) for side in expected]
    weights = torch.randn(2, *found[0].shape)
    for sides, one in ((found, framework), (expected, by_hand)):
        sum(
            (w * s).sum() for w, s in zip(weights, sides, strict=True)
        ).backward()
        assert one.projector[1].num_batches_tracked == 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    for (name, one), other in zip(
        framework.named_parameters(), by_hand.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    # Running means and variances moved twice, in the order of the views.
    torch.testing.assert_close(framework.state_dict(), by_hand.state_dict())


def test_views_apart_have_batch_statistics_of_their_own_and_together_share():
    views = torch.randn(5, 2, 8, dtype=torch.float64)
    views[:, 1] += 3.0 * views[:, 1].abs()
    for together in (False, True):
        framework = with_batch_norm(SimCLR, views_together=together)
        sides = framework(views)
        own_means = torch.stack([side.mean(0) for side in sides]).detach()
        is_centred = torch.allclose(own_means, torch.zeros_like(own_means))
        assert is_centred != together
        updates = framework.projector[1].num_batches_tracked
        assert updates == (1 if together else 2)
