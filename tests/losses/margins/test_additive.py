"""CosFace's margin in both losses."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import NTXentLoss
from ssps_plugin.losses import AdditiveMargin


def test_the_target_alone_is_lowered():
    targets, others = torch.tensor([[0.9]]), torch.tensor([[0.8, -0.1]])
    lowered, same = AdditiveMargin(0.5)(targets, others, norms=targets)
    assert lowered.item() == pytest.approx(0.4)
    assert same is others


def test_nt_xent_lowers_every_views_cosine_with_its_partner():
    generator = torch.Generator().manual_seed(0)
    anchors, positives = torch.randn(2, 5, 4, generator=generator)
    found = NTXentLoss(0.1)(anchors, positives, margin=AdditiveMargin(0.3))
    views = F.normalize(torch.cat([anchors, positives]), dim=-1).double()
    total = 0.0
    for one in range(10):
        partner = (one + 5) % 10
        logits = {
            other: views[one] @ views[other] / 0.1
            for other in range(10)
            if other != one
        }
        logits[partner] = logits[partner] - 0.3 / 0.1
        every = torch.stack(list(logits.values()))
        total += every.logsumexp(0) - logits[partner]
    assert found.item() == pytest.approx(float(total) / 10, rel=1e-5)


@pytest.mark.parametrize("margin", [-0.1, 2.1, float("nan")])
def test_margins_out_of_range_are_an_error(margin):
    with pytest.raises(ValueError, match="margin must be between 0 and 2"):
        AdditiveMargin(margin)
