"""What holds for every margin: state, precision, and none at all."""

import math
import statistics as statistics_of

import pytest
import torch

from ssps_plugin import NTXentLoss
from ssps_plugin.losses import (
    AdaptiveMargin,
    AdditiveAngularMargin,
    AdditiveMargin,
    CurricularMargin,
    MoCoLoss,
    MultiplicativeAngularMargin,
    NegativeQueue,
    NoMargin,
)

MARGINS = [
    AdaptiveMargin,
    AdditiveAngularMargin,
    AdditiveMargin,
    CurricularMargin,
    MultiplicativeAngularMargin,
    NoMargin,
]
# CurricularFace's makes hard negatives easier as training begins.
HARDER = [m for m in MARGINS if m not in (CurricularMargin, NoMargin)]
# Those that change nothing with a margin of none.
WITHOUT_MARGIN = [
    AdaptiveMargin(0.0),
    AdditiveAngularMargin(0.0),
    AdditiveMargin(0.0),
    MultiplicativeAngularMargin(1.0),
]


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 6, 4, generator=generator)


def moco_loss(anchors, positives, margin=None):
    negatives = NegativeQueue(9, 4)
    negatives.update(views(1))
    return MoCoLoss(0.1)(
        torch.stack([anchors, positives]),
        torch.stack([positives, anchors]),
        negatives,
        margin=margin,
    )


LOSSES = [NTXentLoss(0.1), moco_loss]


def with_gradients(loss, margin=None):
    leaves = views().requires_grad_()
    value = loss(*leaves, margin=margin)
    return value.detach(), *torch.autograd.grad(value, leaves)


@pytest.mark.parametrize("loss", LOSSES, ids=["nt_xent", "moco"])
def test_no_margin_is_the_bare_loss_bit_for_bit(loss):
    bare, none = with_gradients(loss), with_gradients(loss, NoMargin())
    assert all(map(torch.equal, bare, none))


@pytest.mark.parametrize("loss", LOSSES, ids=["nt_xent", "moco"])
@pytest.mark.parametrize(
    "margin", WITHOUT_MARGIN, ids=lambda m: type(m).__name__
)
def test_a_margin_of_nothing_changes_nothing(loss, margin):
    found, expected = with_gradients(loss, margin), with_gradients(loss)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES, ids=["nt_xent", "moco"])
@pytest.mark.parametrize("margin", HARDER)
def test_a_margin_makes_the_loss_harder(loss, margin):
    assert loss(*views(), margin=margin()) > loss(*views())


@pytest.mark.parametrize("loss", LOSSES, ids=["nt_xent", "moco"])
@pytest.mark.parametrize("margin", MARGINS)
def test_autocast_changes_nothing(loss, margin):
    expected = with_gradients(loss, margin())

    def under_autocast(*leaves, margin):
        with torch.autocast("cpu", torch.bfloat16):
            return loss(*leaves, margin=margin)

    found = with_gradients(under_autocast, margin())
    assert found[0].dtype == torch.float32
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("margin", MARGINS)
def test_no_parameters_and_all_state_is_saved(margin):
    used, restored = margin(), margin()
    NTXentLoss(0.1)(*views(), margin=used)
    assert not list(used.parameters())
    assert used.state_dict()  # SpeechBrain warns of an empty one
    restored.load_state_dict(used.state_dict())
    again, expected = (
        NTXentLoss(0.1)(*views(2), margin=one) for one in (restored, used)
    )
    assert again == expected


@pytest.mark.parametrize("of", MARGINS)
@pytest.mark.parametrize("to", MARGINS)
def test_a_warm_start_with_another_margin_begins_its_state_anew(of, to):
    used, other = of(), to()
    NTXentLoss(0.1)(*views(), margin=used)
    other.load_state_dict(used.state_dict())
    expected = used.state_dict() if of is to else to().state_dict()
    assert other.state_dict() == expected


@pytest.mark.parametrize("kind", [AdaptiveMargin, CurricularMargin])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_that_is_not_finite_does_not_reach_the_statistics(kind, loss):
    margin, spoilt = kind(), views()
    spoilt[0, 2, 1] = float("inf")
    loss(*spoilt, margin=margin)
    assert all(math.isfinite(value) for value in margin.figures().values())
    assert loss(*views(), margin=margin).isfinite()


def additive(target, others, norm, statistics):
    return target - 0.1, others


def angular(target, others, norm, statistics):
    return torch.cos(torch.acos(target) + 0.1), others


def curricular(target, others, norm, statistics):
    wider = torch.cos(torch.acos(target) + 0.1)
    t = 0.01 * statistics["mean_target"]
    weighed = [c * (t + c) if c > wider else c for c in others]
    return wider, weighed


def adaptive(target, others, norm, statistics):
    quality = (norm - statistics["mean"]) / (statistics["deviation"] + 1e-3)
    quality = min(max(0.333 * quality, -1), 1)
    theta = torch.acos(target) - 0.1 * quality
    return torch.cos(theta) - (0.1 * quality + 0.1), others


@pytest.mark.parametrize(
    ("margin", "formula"),
    [
        (AdditiveMargin, additive),
        (AdditiveAngularMargin, angular),
        (CurricularMargin, curricular),
        (AdaptiveMargin, adaptive),
    ],
)
def test_nt_xent_and_its_gradient_equal_a_loop_in_float64(margin, formula):
    leaves = views().requires_grad_()
    found = NTXentLoss(0.2)(*leaves, margin=margin(0.1))
    (gradient,) = torch.autograd.grad(found, leaves)

    double = views().double().requires_grad_()
    rows = [*double[0], *double[1]]
    norms = [row.norm().item() for row in rows]
    half = len(rows) // 2
    cosines = [[a @ b / a.norm() / b.norm() for b in rows] for a in rows]
    partners = [(i + half) % len(rows) for i in range(len(rows))]
    targets = [cosines[i][j].item() for i, j in enumerate(partners)]
    statistics = {
        "mean_target": sum(targets) / len(targets),
        "mean": statistics_of.mean(norms),
        "deviation": statistics_of.stdev(norms),
    }
    total = 0.0
    for i, j in enumerate(partners):
        others = [cosines[i][k] for k in range(len(rows)) if k not in (i, j)]
        target, others = formula(cosines[i][j], others, norms[i], statistics)
        logits = torch.stack([target, *others]) / 0.2
        total = total - logits.log_softmax(0)[0]
    expected = total / len(rows)
    (slow,) = torch.autograd.grad(expected, double)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_norms_are_those_before_anchors_are_normalised(loss):
    margin = AdaptiveMargin(0.1)
    loss(*views(), margin=margin)
    # Both views are anchors, in MoCo queries.
    norms = views().norm(dim=2)
    assert margin.mean.item() == pytest.approx(norms.mean().item())
    assert margin.deviation.item() == pytest.approx(norms.std().item())
