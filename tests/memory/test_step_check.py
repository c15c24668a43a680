"""What a recipe passes, checked."""

import pytest
import torch

from ssps_plugin.memory import PositiveLayout, StepCheck, UtteranceIndex

CPU = torch.device("cpu")


def check(reference_dim=2, num_targets=1):
    utterances = UtteranceIndex(["a", "b", "c"])
    return StepCheck(utterances, PositiveLayout(num_targets, 3), reference_dim)


def test_the_reference_comes_detached_in_float32():
    reference = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    step = check()(["a", "c"], reference, torch.zeros(2, 3), CPU)
    assert step.index.tolist() == [0, 2]
    assert not step.reference.requires_grad
    assert step.reference.dtype == torch.float32


def test_a_reference_of_speechbrains_shape_is_accepted():
    reference = torch.arange(4.0).view(2, 1, 2)
    step = check()(["a", "c"], reference, torch.zeros(2, 3), CPU)
    assert step.reference.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2, 2), (2,)])
def test_a_reference_of_another_shape_names_the_key(shape):
    with pytest.raises(
        ValueError, match="reference_dim of the PositiveSampler"
    ):
        check()(["a", "c"], torch.zeros(shape), torch.zeros(2, 3), CPU)


def test_no_reference_says_how_to_make_one():
    with pytest.raises(ValueError, match="reference_representation"):
        check()(["a", "c"], None, torch.zeros(2, 3), CPU)


def test_another_device_is_named_for_what_is_on_it():
    there = torch.device("meta")
    reference, positives = torch.zeros(2, 2), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="reference is on meta"):
        check()(["a", "c"], reference.to(there), positives, CPU)
    with pytest.raises(ValueError, match="positives is on meta"):
        check()(["a", "c"], reference, positives.to(there), CPU)
