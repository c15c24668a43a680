"""VICReg and its projector."""

import torch
from torch import nn

from ssps_plugin.frameworks import VICReg


class Mean(nn.Module):
    """Means of an utterance's two halves."""

    def forward(self, wavs, lengths=None):
        return wavs.unflatten(1, (2, -1)).mean(-1)


def test_pairs_are_projected_and_embeddings_are_not():
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
