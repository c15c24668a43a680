"""DINO: student and teacher, bottlenecks and outputs."""

import pytest
import torch
from torch import nn

from ssps_plugin import (
    ClusteringSampling,
    PositiveSampler,
    PositiveSamplingLoss,
)
from ssps_plugin.frameworks import DINO, EmbeddingModel
from ssps_plugin.frameworks.momentum import MomentumSchedule
from ssps_plugin.heads import DINOHead
from ssps_plugin.losses import DINOCentering, DINOLoss

NUM_OUTPUTS, BOTTLENECK = 9, 4


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.lengths = []

    def forward(self, wavs):
        self.lengths.append(wavs.shape[1])
        return wavs.unflatten(1, (-1, 2))


class Normalization(nn.Module):
    def forward(self, features, lengths):
        return features


class Encoder(nn.Module):
    """Mean over the frames of a linear map, with batch statistics."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 6)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, features, lengths):
        return self.norm(self.linear(features).mean(1))[:, None]


def dino(momentum=0.9, **options):
    torch.manual_seed(0)
    model = EmbeddingModel(Features(), Normalization(), Encoder())
    head = DINOHead([6, 8, BOTTLENECK], NUM_OUTPUTS)
    return DINO(model, head, MomentumSchedule(momentum), **options)


def views(batch=3, num_local=3):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, 2, 16, generator=generator),
        torch.randn(batch, num_local, 8, generator=generator),
    )


def test_view_by_view_the_student_gives_outputs_and_the_teacher_bottlenecks():
    framework = dino().eval()  # so that views do not share batch statistics
    with torch.no_grad():  # a teacher that differs from the student
        framework.teacher_model.encoder.linear.weight.mul_(-2)
    crops = views()
    outputs, bottlenecks = framework(*crops)
    assert outputs.shape == (5, 3, NUM_OUTPUTS)
    assert bottlenecks.shape == (2, 3, BOTTLENECK)
    own = [group[:, view] for group in crops for view in range(group.shape[1])]
    for view, wavs in enumerate(own):
        expected = framework.head(framework.embedding_model(wavs))
        torch.testing.assert_close(outputs[view], expected)
    for view in range(2):
        embedding = framework.teacher_model(own[view])
        expected = framework.teacher_head.bottleneck(embedding)
        torch.testing.assert_close(bottlenecks[view], expected)
        student = framework.head.bottleneck(
            framework.embedding_model(own[view])
        )
        assert not torch.allclose(bottlenecks[view], student)
    torch.testing.assert_close(
        framework.first_view_embedding, framework.teacher_model(own[0])
    )


def test_local_views_are_not_padded_and_features_are_computed_once():
    framework = dino()
    framework(*views())
    assert framework.embedding_model.features.lengths == [16, 8]
    assert framework.teacher_model.features.lengths == []


def test_only_the_student_learns():
    framework = dino()
    outputs, bottlenecks = framework(*views())
    assert not bottlenecks.requires_grad
    outputs.square().sum().backward()
    for module in (framework.embedding_model.encoder, framework.head):
        assert all(p.grad is not None for p in module.parameters())
    for module in (framework.teacher_model, framework.teacher_head):
        assert not any(p.requires_grad for p in module.parameters())


def test_targets_are_the_outputs_of_the_teacher():
    framework = dino().eval()
    crops = views()
    _, bottlenecks = framework(*crops)
    for view in range(2):
        embedding = framework.teacher_model(crops[0][:, view])
        expected = framework.teacher_head(embedding)
        found = framework.targets(bottlenecks)[view]
        torch.testing.assert_close(found, expected)


def test_the_teacher_has_batch_statistics_of_its_own():
    framework = dino().train()
    framework(*views())
    student, teacher = (
        model.encoder.norm
        for model in (framework.embedding_model, framework.teacher_model)
    )
    assert teacher.num_batches_tracked == 1  # global views
    assert student.num_batches_tracked == 2  # global and local ones
    kept = teacher.running_mean.clone()
    framework.update(0.0)
    assert torch.equal(teacher.running_mean, kept)


def test_running_statistics_follow_the_students_alone_when_asked_to():
    framework = dino(momentum=0.996, average_buffers=True).train()
    teacher, student = (
        model.encoder.norm
        for model in (framework.teacher_model, framework.embedding_model)
    )
    expected = teacher.running_mean.clone()
    for _ in range(20):
        framework(*views())
        framework.update(0.0)
        expected = 0.996 * expected + 0.004 * student.running_mean
    torch.testing.assert_close(teacher.running_mean, expected)


def test_the_teacher_follows_by_the_schedules_momentum():
    framework = dino()
    framework.momentum = MomentumSchedule(0.5, 1.0)
    weight = framework.teacher_head.mlp[0].weight
    expected = weight.clone()
    for progress, momentum in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        with torch.no_grad():
            framework.head.mlp[0].weight.add_(1.0)
        framework.update(progress)
        student = framework.head.mlp[0].weight.detach()
        expected = momentum * expected + (1 - momentum) * student
        torch.testing.assert_close(weight, expected)


def test_what_is_verified_is_the_teacher():
    framework = dino().eval()
    with torch.no_grad():
        framework.embedding_model.encoder.linear.weight.zero_()
    wavs = torch.randn(2, 16)
    found = framework.embed(wavs)
    assert torch.equal(found, framework.teacher_model(wavs))
    assert not torch.equal(found, framework.embedding_model(wavs))


@pytest.mark.parametrize(("epoch", "frozen"), [(1, True), (2, False)])
def test_the_output_layer_is_frozen_first(epoch, frozen):
    framework = dino()
    framework.begin_epoch(epoch)
    expected = [framework.head.output.weight] if frozen else []
    found = list(framework.frozen_parameters())
    assert [id(p) for p in found] == [id(p) for p in expected]


def test_a_view_without_its_dimension_is_an_error():
    with pytest.raises(ValueError, match="change crop_groups to set num_crops"):
        dino()(torch.randn(3, 16))
    with pytest.raises(ValueError, match="the global ones first"):
        dino()()


IDS = [f"utterance{n}" for n in range(12)]


def sampler_of(framework, crops, reference):
    sampler = PositiveSampler(
        ClusteringSampling(4, 1), 12, 6, BOTTLENECK, 2, num_targets=2
    )
    sampler.bind(IDS)
    for epoch in (1, 2):
        sampler.begin_epoch(epoch)
        if epoch == 1:
            sampler(IDS, reference, framework(*crops)[1])
    return sampler


def test_a_drawn_bottleneck_changes_the_loss_as_by_hand():
    framework = dino().eval()
    crops, reference = views(12), torch.randn(12, 6)
    reference = nn.functional.normalize(reference, dim=1)
    sampler = sampler_of(framework, crops, reference)
    queued = framework(*crops)[1]
    with torch.no_grad():  # the teacher has moved since
        framework.teacher_head.output.weight.add_(0.1)
    outputs, bottlenecks = framework(*crops)
    wrapper = PositiveSamplingLoss(DINOLoss(), sampler)
    positives, _ = wrapper.substitute(bottlenecks, IDS, reference)
    targets = framework.targets(positives)
    centering = DINOCentering(NUM_OUTPUTS)
    loss = wrapper.loss(outputs, targets, centering=centering)

    drawn = sampler.last_draw[1]
    assert (drawn >= 0).all()
    by_hand = framework.teacher_head.output(queued[:, drawn])
    expected = DINOLoss()(outputs, by_hand, centering)
    assert torch.equal(loss, expected)
    assert loss != DINOLoss()(
        outputs, framework.targets(bottlenecks), centering
    )


def test_a_queue_of_bottlenecks_is_small_at_the_papers_scale():
    sampler = PositiveSampler(
        ClusteringSampling(25_000, 1), 25_000, 1, 256, 81, num_targets=2
    )
    queue = sampler.queue
    sampler.bind([str(n) for n in range(1_092_009)])  # VoxCeleb2
    rows = queue._rows
    assert rows.element_size() * rows.numel() <= 60e6
    tables = sum(
        b.element_size() * b.numel() for b in queue.buffers() if b is not rows
    )
    assert rows.element_size() * rows.numel() + tables <= 60e6


def test_the_head_by_group_equals_a_call_for_each_group_by_hand():
    framework = dino(head_by_group=True)
    by_hand, together = dino(), dino()
    for one in (framework, by_hand, together):
        one.double().train()
        one.head.output.float()  # bottlenecks are float32
    crops = [group.double() for group in views()]
    outputs, bottlenecks = framework(*crops)
    weights = torch.randn(outputs.shape)
    (weights * outputs).sum().backward()

    expected = []
    for group in crops:
        wavs = group.transpose(0, 1).flatten(0, 1)
        found = by_hand.head(by_hand.embedding_model(wavs))
        expected.append(found.unflatten(0, (group.shape[1], -1)))
    (weights * torch.cat(expected)).sum().backward()
    torch.testing.assert_close(outputs, torch.cat(expected))
    for module in ("embedding_model", "head"):
        for (name, one), other in zip(
            getattr(framework, module).named_parameters(),
            getattr(by_hand, module).parameters(),
            strict=True,
        ):
            torch.testing.assert_close(one.grad, other.grad, msg=name)
    assert framework.head.mlp[1].num_batches_tracked == 2

    # The teacher sees one group, the global views, in any case.
    others, same = together(*crops)
    assert torch.equal(bottlenecks, same)
    assert not torch.allclose(outputs, others)
    assert together.head.mlp[1].num_batches_tracked == 1
    assert framework.state_dict().keys() == together.state_dict().keys()
