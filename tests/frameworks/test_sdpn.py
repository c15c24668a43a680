"""SDPN: the student's projections and embeddings, the teacher's projections."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin import (
    ClusteringSampling,
    PositiveSampler,
    PositiveSamplingLoss,
    SDPNLoss,
)
from ssps_plugin.frameworks import SDPN, EmbeddingModel
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.heads import Prototypes, SDPNHead
from tests.frameworks.test_dino import Encoder, Features, Normalization

DIM, EMBEDDING_DIM = 4, 6


def sdpn(momentum=0.9, **options):
    torch.manual_seed(0)
    model = EmbeddingModel(Features(), Normalization(), Encoder())
    head = SDPNHead([EMBEDDING_DIM, 8, DIM])
    return SDPN(model, head, MomentumSchedule(momentum), **options)


def views(batch=3, num_global=1, num_local=4):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, num_global, 16, generator=generator),
        torch.randn(batch, num_local, 8, generator=generator),
    )


@pytest.mark.parametrize("num_global", [1, 2])
def test_local_views_are_the_students_and_global_ones_the_teachers(num_global):
    framework = sdpn().eval()  # so that views do not share batch statistics
    with torch.no_grad():  # a teacher that differs from the student
        framework.teacher_model.encoder.linear.weight.mul_(-2)
    whole, parts = views(num_global=num_global)
    anchors, positives = framework(whole, parts)
    assert anchors.shape == (4, 3, DIM + EMBEDDING_DIM)
    assert positives.shape == (num_global, 3, DIM)
    for view in range(4):
        embeddings = framework.embedding_model(parts[:, view])
        torch.testing.assert_close(
            anchors[view, :, :DIM], framework.head(embeddings)
        )
        torch.testing.assert_close(
            anchors[view, :, DIM:], F.normalize(embeddings, dim=1)
        )
    for view in range(num_global):
        embeddings = framework.teacher_model(whole[:, view])
        torch.testing.assert_close(
            positives[view], framework.teacher_head(embeddings)
        )


def test_groups_of_local_views_may_differ_in_length():
    framework = sdpn().eval()
    whole, parts = views()
    anchors, _ = framework(whole, parts, parts[..., :4])
    torch.testing.assert_close(anchors[:4], framework(whole, parts)[0])
    expected = framework(whole, parts[..., :4])[0]
    torch.testing.assert_close(anchors[4:], expected)


def test_each_view_is_seen_by_one_network_alone():
    framework = sdpn()
    framework(*views())
    student, teacher = (
        model.encoder.norm
        for model in (framework.embedding_model, framework.teacher_model)
    )
    assert framework.embedding_model.features.lengths == [8]
    assert framework.teacher_model.features.lengths == [16]
    assert student.num_batches_tracked == teacher.num_batches_tracked == 1


def test_only_the_student_learns():
    framework = sdpn()
    anchors, positives = framework(*views())
    assert not positives.requires_grad
    anchors[..., :DIM].square().mul(torch.rand(DIM)).sum().backward()
    for module in (framework.embedding_model.encoder, framework.head):
        assert all(p.grad is not None for p in module.parameters())
    for module in (framework.teacher_model, framework.teacher_head):
        assert not any(p.requires_grad for p in module.parameters())


def test_the_teacher_follows_and_is_what_is_verified():
    framework = sdpn(momentum=0.75).eval()
    weights = [
        model.encoder.linear.weight
        for model in (framework.teacher_model, framework.embedding_model)
    ]
    with torch.no_grad():
        weights[1].add_(4.0)
    expected = weights[0] + 1.0
    framework.update(0.0)
    torch.testing.assert_close(weights[0], expected)
    wavs = torch.randn(2, 16)
    found = framework.embed(wavs)
    assert torch.equal(found, framework.teacher_model(wavs))
    assert not torch.equal(found, framework.embedding_model(wavs))


@pytest.mark.parametrize(
    "shapes", [[(3, 1, 16)], [(3, 16), (3, 4, 8)], [(3, 1, 16), (3, 8)]]
)
def test_groups_that_do_not_fit_are_an_error(shapes):
    with pytest.raises(ValueError, match="or crop_groups to two groups"):
        sdpn()(*map(torch.randn, shapes))


IDS = [f"utterance{n}" for n in range(12)]


def test_a_drawn_projection_is_assigned_by_the_present_prototypes():
    framework = sdpn().eval()
    crops = views(12)
    reference = F.normalize(torch.randn(12, EMBEDDING_DIM), dim=1)
    sampler = PositiveSampler(
        ClusteringSampling(4, 1), 12, EMBEDDING_DIM, DIM, 2, num_targets=1
    )
    sampler.bind(IDS)
    sampler.begin_epoch(1)
    queued = framework(*crops)[1]
    sampler(IDS, reference, queued)
    sampler.begin_epoch(2)
    prototypes = Prototypes(DIM, 5, weight_norm=True)
    with torch.no_grad():  # teacher and prototypes have moved since
        framework.teacher_model.encoder.linear.weight.mul_(-1)
        prototypes.weight.add_(0.3)
    anchors, positives = framework(*crops)
    wrapper = PositiveSamplingLoss(SDPNLoss(), sampler)
    loss = wrapper(anchors, positives, IDS, reference, prototypes=prototypes)
    drawn = sampler.last_draw[1]
    assert (drawn >= 0).all()
    expected = SDPNLoss()(anchors, queued[:, drawn], prototypes)
    assert torch.equal(loss, expected)
    assert loss != SDPNLoss()(anchors, positives, prototypes)


def test_features_that_are_tuned_are_the_teachers_own():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, wavs):
            return self.scale * wavs.unflatten(1, (-1, 2))

    model = EmbeddingModel(Scale(), Normalization(), Encoder())
    head = SDPNHead([EMBEDDING_DIM, DIM])
    framework = SDPN(model, head, MomentumSchedule(0.9)).eval()
    before = framework(*views())
    with torch.no_grad():
        framework.teacher_model.features.scale.fill_(3.0)
    after = framework(*views())
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
