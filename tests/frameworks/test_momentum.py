"""The momentum network against closed forms."""

import math

import pytest
import torch
from torch import nn

from ssps_plugin.frameworks.momentum import (
    MomentumSchedule,
    make_momentum_copy,
    update_momentum,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_a_copy_starts_as_the_student_and_takes_no_gradient():
    student = network()
    teacher = make_momentum_copy(student)
    for theirs, ours in zip(
        teacher.parameters(), student.parameters(), strict=True
    ):
        assert torch.equal(theirs, ours)
        assert not theirs.requires_grad
        assert ours.requires_grad


def test_a_fixed_student_is_approached_geometrically():
    student = network()
    teacher = make_momentum_copy(student)
    start = teacher[0].weight.clone()
    with torch.no_grad():
        student[0].weight.fill_(2.0)
    for _ in range(5):
        update_momentum(teacher, student, momentum=0.9)
    expected = 2.0 + 0.9**5 * (start - 2.0)
    torch.testing.assert_close(teacher[0].weight, expected)


def test_a_moving_student_is_averaged_with_falling_weights():
    student = nn.Linear(1, 1, bias=False)
    teacher = make_momentum_copy(student)
    expected = teacher.weight.item()
    for step, momentum in enumerate((0.5, 0.9, 0.2)):
        with torch.no_grad():
            student.weight.fill_(float(step))
        update_momentum(teacher, student, momentum)
        expected = momentum * expected + (1 - momentum) * step
    assert teacher.weight.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("buffers", [False, True])
def test_a_copy_normalises_by_its_batch_and_keeps_statistics_if_asked(buffers):
    student = network()
    teacher = make_momentum_copy(student, buffers)
    batch = torch.randn(8, 2) + 5
    torch.testing.assert_close(teacher(batch), student(batch))
    moved = not torch.equal(teacher[1].running_mean, torch.zeros(3))
    assert moved == (not buffers)
    assert student[1].momentum == 0.1


@pytest.mark.parametrize("buffers", [False, True])
def test_batch_statistics_follow_only_when_asked_to(buffers):
    student = network()
    teacher = make_momentum_copy(student, buffers)
    student(torch.randn(8, 2) + 5)
    update_momentum(teacher, student, momentum=0.75, buffers=buffers)
    moved = 0.25 * student[1].running_mean if buffers else torch.zeros(3)
    torch.testing.assert_close(teacher[1].running_mean, moved)
    assert teacher[1].num_batches_tracked == int(buffers)


def test_the_schedule_is_a_cosine():
    momentum = MomentumSchedule(0.996, 1.0)
    for step in range(11):
        expected = 1 - 0.004 * (math.cos(math.pi * step / 10) + 1) / 2
        assert momentum(step / 10) == pytest.approx(expected, abs=1e-12)
    assert momentum(2.0) == 1.0


def test_without_an_end_momentum_is_constant():
    momentum = MomentumSchedule(0.999)
    assert momentum(0.0) == momentum(0.7) == 0.999


@pytest.mark.parametrize("arguments", [(-0.1,), (1.1,), (0.9, 2.0)])
def test_momentum_outside_the_unit_interval_is_an_error(arguments):
    with pytest.raises(ValueError, match="between 0 and 1"):
        MomentumSchedule(*arguments)
