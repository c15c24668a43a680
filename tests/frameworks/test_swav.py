"""SwAV: features on the unit sphere."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin.frameworks import SwAV


class Mean(nn.Module):
    """Means of an utterance's two halves."""

    def forward(self, wavs, lengths=None):
        return wavs.unflatten(1, (2, -1)).mean(-1)


def swav():
    torch.manual_seed(0)
    return SwAV(Mean(), nn.Linear(2, 3))


def test_features_are_projected_and_normalized_and_embeddings_are_not():
    framework, views = swav(), torch.randn(4, 2, 8)
    for view, found in enumerate(framework(views)):
        projected = framework.projector(Mean()(views[:, view]))
        torch.testing.assert_close(found, F.normalize(projected, dim=1))
    assert torch.equal(framework.embed(views[:, 0]), Mean()(views[:, 0]))


def test_features_are_float32_of_unit_norm_under_autocast():
    framework = swav()
    with torch.autocast("cpu", torch.bfloat16):
        sides = framework(torch.randn(4, 2, 8))
    for side in sides:
        assert side.dtype == torch.float32
        torch.testing.assert_close(side.norm(dim=1), torch.ones(4))


def test_both_sides_pass_their_gradient_on():
    framework, views = swav(), torch.randn(4, 2, 8)
    for side in framework(views):
        (gradient,) = torch.autograd.grad(
            side.sum(), framework.projector.weight, retain_graph=True
        )
        assert gradient.abs().sum() > 0


def test_other_than_two_views_are_an_error():
    with pytest.raises(ValueError, match="Expected one group of two views"):
        swav()(torch.randn(4, 3, 8))
