"""The shapes of positives, there and back."""

import pytest
import torch

from ssps_plugin.memory import PositiveLayout


@pytest.mark.parametrize(
    ("num_targets", "shape"),
    [
        (1, (5, 3)),
        (1, (5, 1, 3)),
        (1, (1, 5, 3)),
        (2, (2, 5, 3)),
        (5, (5, 5, 3)),
    ],
)
def test_every_shape_comes_back_as_it_was(num_targets, shape):
    layout = PositiveLayout(num_targets, 3)
    positives = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    targets = layout.targets_first(positives, 5)
    assert targets.shape == (num_targets, 5, 3)
    assert torch.equal(layout.restore(targets, positives), positives)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 3)])
def test_a_row_is_the_positive_of_its_utterance(shape):
    positives = torch.arange(15.0).view(shape)
    targets = PositiveLayout(1, 3).targets_first(positives, 5)
    assert targets[0].tolist() == torch.arange(15.0).view(5, 3).tolist()


@pytest.mark.parametrize(
    ("num_targets", "shape"),
    [
        (1, (5, 4)),
        (1, (4, 3)),
        (1, (5, 2, 3)),
        (1, (3,)),
        (2, (5, 3)),
        (2, (1, 5, 3)),
        (2, (5, 2, 3)),
    ],
)
def test_another_shape_is_an_error_that_names_the_keys(num_targets, shape):
    with pytest.raises(ValueError, match="positive_dim and num_targets"):
        PositiveLayout(num_targets, 3).targets_first(torch.zeros(shape), 5)


def test_integers_are_an_error():
    with pytest.raises(ValueError, match="floating point"):
        PositiveLayout(1, 3).targets_first(torch.zeros(5, 3).long(), 5)
