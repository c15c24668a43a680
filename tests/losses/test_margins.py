"""Margins: what holds for all of them, then each against its formula."""

import math
import statistics as statistics_of

import pytest
import torch
import torch.nn.functional as F

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
# CurricularMargin makes hard negatives easier at the start of the training.
HARDER = [m for m in MARGINS if m not in (CurricularMargin, NoMargin)]
# Margins of 0, which change nothing.
OF_ZERO = [
    AdaptiveMargin(0.0),
    AdditiveAngularMargin(0.0),
    AdditiveMargin(0.0),
    MultiplicativeAngularMargin(1.0),
]

COSINES = torch.linspace(-1, 1, 401)[:, None]
OTHERS = torch.zeros(401, 2)
NORMS = [[1.0], [2.0], [3.0], [6.0]]


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
@pytest.mark.parametrize("margin", OF_ZERO, ids=lambda m: type(m).__name__)
def test_a_margin_of_zero_changes_nothing(loss, margin):
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
    state = used.state_dict()
    assert state  # SpeechBrain warns of an empty one
    assert all(map(torch.is_tensor, state.values()))
    restored.load_state_dict(state)
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
    found = other.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("kind", [AdaptiveMargin, CurricularMargin])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_that_is_not_finite_does_not_reach_the_statistics(kind, loss):
    margin, spoilt = kind(), views()
    spoilt[0, 2, 1] = float("inf")
    loss(*spoilt, margin=margin)
    assert all(math.isfinite(value) for value in margin.metrics().values())
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
def test_additive_margins_out_of_range_are_an_error(margin):
    with pytest.raises(
        ValueError, match="Expected margin between 0 and 2, got"
    ):
        AdditiveMargin(margin)


def applied(margin, cosines=COSINES):
    targets, others = margin(cosines, OTHERS, norms=cosines)
    assert others is OTHERS
    return targets


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, 1.5])
def test_the_angle_grows_by_the_margin(margin):
    theta = COSINES.double().acos()
    beyond = theta + margin > math.pi
    expected = torch.where(
        beyond,
        COSINES.double() - margin * math.sin(margin),
        (theta + margin).cos(),
    )
    found = applied(AdditiveAngularMargin(margin)).double()
    inside = COSINES.abs() < 1  # at the ends the sine is kept from 0
    assert torch.allclose(found[inside], expected[inside], atol=2e-6)
    assert torch.allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4])
def test_the_angle_is_multiplied_piece_by_piece(factor):
    expected = []
    for cosine in COSINES.double().flatten().tolist():
        theta = factor * math.acos(cosine)
        turns = min(math.floor(theta / math.pi), math.ceil(factor) - 1)
        expected.append((-1) ** turns * math.cos(theta) - 2 * turns)
    found = applied(MultiplicativeAngularMargin(factor)).double().flatten()
    assert torch.allclose(found, torch.tensor(expected).double(), atol=2e-3)


@pytest.mark.parametrize(
    "margin", [AdditiveAngularMargin(0.3), MultiplicativeAngularMargin(3)]
)
def test_a_nearer_positive_is_never_worse(margin):
    targets = applied(margin).flatten()
    assert (targets.diff() > -1e-5).all()
    assert (targets <= COSINES.flatten() + 1e-3).all()


@pytest.mark.parametrize(
    "margin", [AdditiveAngularMargin(0.3), MultiplicativeAngularMargin(3)]
)
def test_gradients_of_the_views_are_finite_where_angles_are_0_or_pi(margin):
    one = torch.tensor([[3.0, 4.0]], requires_grad=True)
    for other in ([[3.0, 4.0]], [[-3.0, -4.0]], [[4.0, -3.0]]):
        cosine = torch.cosine_similarity(one, torch.tensor(other))[:, None]
        applied(margin, cosine).sum().backward()
        assert one.grad.isfinite().all()
        assert one.grad.abs().max() < 10
        one.grad = None


def test_angular_values_out_of_range_are_an_error():
    for margin in (-0.1, 1.6):
        with pytest.raises(ValueError, match="Expected margin between 0"):
            AdditiveAngularMargin(margin)
    for factor in (0.9, 4.1):
        with pytest.raises(ValueError, match="Expected factor between 1"):
            MultiplicativeAngularMargin(factor)


def by_hand(cosine, norm, mean, deviation, m, h):
    quality = min(max((norm - mean) / (deviation + 1e-3) * h, -1), 1)
    theta = min(max(math.acos(cosine) - m * quality, 0), math.pi)
    return math.cos(theta) - (m * quality + m)


@pytest.mark.parametrize("cosine", [-0.99, -0.5, 0.0, 0.7, 0.99])
@pytest.mark.parametrize(("m", "h"), [(0.4, 0.333), (0.2, 1.0), (0.0, 1.0)])
def test_the_norm_chooses_between_angle_and_cosine(cosine, m, h):
    margin = AdaptiveMargin(m, h)
    norms = torch.tensor(NORMS)
    targets = torch.full((4, 1), cosine)
    others = torch.zeros(4, 2)
    found, same = margin(targets, others, norms)
    assert same is others
    mean, deviation = norms.mean().item(), norms.std().item()
    expected = [
        by_hand(cosine, norm, mean, deviation, m, h) for (norm,) in NORMS
    ]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_statistics_start_with_the_first_step_and_then_run():
    margin = AdaptiveMargin(momentum=0.9)
    steps = [torch.tensor(NORMS), 3 * torch.tensor(NORMS)]
    for norms in steps:
        margin(torch.zeros(4, 1), torch.zeros(4, 2), norms)
    mean = 0.9 * steps[0].mean() + 0.1 * steps[1].mean()
    deviation = 0.9 * steps[0].std() + 0.1 * steps[1].std()
    assert margin.metrics() == {
        "norm_mean": pytest.approx(mean.item()),
        "norm_deviation": pytest.approx(deviation.item()),
    }


def test_norms_that_are_not_finite_are_left_out():
    margin, expected = AdaptiveMargin(), AdaptiveMargin()
    targets, others = torch.zeros(4, 1), torch.zeros(4, 2)
    nothing = torch.full((4, 1), float("nan"))
    margin(targets, others, nothing)  # the next step is still the first
    spoilt = torch.tensor([*NORMS[:2], [float("inf")], NORMS[3]])
    margin(targets, others, spoilt)
    expected(targets[:3], others[:3], torch.tensor([*NORMS[:2], NORMS[3]]))
    assert margin.metrics() == pytest.approx(expected.metrics())
    margin(targets, others, nothing)
    assert margin.metrics() == pytest.approx(expected.metrics())


def test_evaluation_moves_no_statistics():
    margin = AdaptiveMargin().eval()
    margin(torch.zeros(4, 1), torch.zeros(4, 2), torch.tensor(NORMS))
    assert margin.metrics() == {"norm_mean": 0.0, "norm_deviation": 1.0}


def test_norms_take_no_gradient():
    margin = AdaptiveMargin()
    norms = torch.tensor(NORMS, requires_grad=True)
    targets = torch.zeros(4, 1, requires_grad=True)
    found, _ = margin(targets, torch.zeros(4, 2), norms)
    found.sum().backward()
    assert norms.grad is None and (targets.grad > 0).all()


def test_nt_xent_gives_every_view_its_own_norm():
    seen = []

    class Spy(AdaptiveMargin):
        def forward(self, targets, others, norms):
            seen.append((targets, norms))
            return super().forward(targets, others, norms)

    anchors = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    positives = torch.tensor([[0.0, 3.0], [0.0, 4.0]])
    NTXentLoss()(anchors, positives, margin=Spy())
    ((targets, norms),) = seen
    assert norms.flatten().tolist() == [1.0, 3.0, 2.0, 4.0]
    assert targets.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_single_view_of_norm_zero_stays_finite():
    margin = AdaptiveMargin()
    found, _ = margin(torch.zeros(1, 1), torch.zeros(1, 2), torch.zeros(1, 1))
    assert found.isfinite().all()


def test_adaptive_values_out_of_range_are_an_error():
    with pytest.raises(ValueError, match="Expected margin between 0"):
        AdaptiveMargin(-0.1)
    for value in (0.0, math.nan, math.inf, None, "1"):
        with pytest.raises(ValueError, match="Expected concentration > 0"):
            AdaptiveMargin(concentration=value)
    for value in (math.nan, None):
        with pytest.raises(ValueError, match="Expected margin between 0"):
            AdditiveMargin(value)
    with pytest.raises(ValueError, match="Expected momentum between 0"):
        AdaptiveMargin(momentum=-0.1)


def test_t_is_a_running_mean_of_the_targets():
    margin = CurricularMargin(0.2, momentum=0.9)
    t = 0.0
    for step in range(4):
        targets = torch.tensor([[0.1 * step], [0.5]])
        margin(targets, torch.zeros(2, 3), norms=targets)
        t = 0.9 * t + 0.1 * (0.1 * step + 0.5) / 2
        assert float(margin.t) == pytest.approx(t, rel=1e-6)
    assert margin.metrics() == {"curricular_t": float(margin.t)}


def test_negatives_beyond_the_widened_target_are_weighed_by_t():
    margin = CurricularMargin(0.5, momentum=0.0)
    targets = torch.tensor([[0.8], [0.4]])  # t = 0.6
    others = torch.tensor([[0.5, 0.3, -0.9], [0.5, 0.3, -0.9]])
    wider, weighed = margin(targets, others, norms=targets)
    by_hand = [math.cos(math.acos(0.8) + 0.5), math.cos(math.acos(0.4) + 0.5)]
    assert wider.flatten().tolist() == pytest.approx(by_hand, rel=1e-5)
    # 0.414 and -0.089: only the first 0.3 and what is below stay.
    assert weighed.tolist() == [
        pytest.approx([0.5 * 1.1, 0.3, -0.9], rel=1e-5),
        pytest.approx([0.5 * 1.1, 0.3 * 0.9, -0.9], rel=1e-5),
    ]


def test_gradients_are_those_of_the_formula():
    margin = CurricularMargin(0.5, momentum=0.0)
    targets = torch.tensor([[0.6]], requires_grad=True)
    others = torch.tensor([[0.5, -0.9]], requires_grad=True)
    wider, weighed = margin(targets, others, norms=targets)
    (wider.sum() + weighed.sum()).backward()
    # d/dc c (t + c) with t = 0.6 held fixed; d/dc cos(acos(c) + m).
    assert others.grad.tolist()[0] == pytest.approx([0.6 + 1.0, 1.0])
    slope = math.sin(math.acos(0.6) + 0.5) / 0.8
    assert targets.grad.item() == pytest.approx(slope, rel=1e-5)


def test_cosines_that_are_not_finite_are_left_out():
    margin = CurricularMargin(momentum=0.5)
    targets = torch.tensor([[0.8], [float("nan")], [0.4]])
    margin(targets, torch.zeros(3, 2), norms=targets)
    assert float(margin.t) == pytest.approx(0.3)
    margin(targets[1:2], torch.zeros(1, 2), norms=targets[1:2])
    assert float(margin.t) == pytest.approx(0.3)


def test_evaluation_moves_no_t():
    margin = CurricularMargin().eval()
    margin(torch.ones(2, 1), torch.ones(2, 3), torch.ones(2, 1))
    assert margin.t == 0


def test_a_resume_goes_on_with_the_same_t():
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(6, 2, 5, 4, generator=generator)
    loss = NTXentLoss(0.1)

    def losses(margin, steps):
        return [loss(*views[step], margin=margin).item() for step in steps]

    whole, first, resumed = (CurricularMargin() for _ in range(3))
    expected = losses(whole, range(6))
    losses(first, range(3))
    resumed.load_state_dict(first.state_dict())
    assert losses(resumed, range(3, 6)) == expected[3:]
    assert losses(CurricularMargin(), range(3, 6)) != expected[3:]


def test_backward_may_come_after_t_has_moved_on():
    margin = CurricularMargin()
    others = torch.full((1, 2), 0.9, requires_grad=True)
    targets = torch.full((1, 1), 0.3)
    _, weighed = margin(targets, others, norms=targets)
    margin(targets, others, norms=targets)
    weighed.sum().backward()
    assert others.grad.isfinite().all()


def test_curricular_values_out_of_range_are_an_error():
    with pytest.raises(ValueError, match="Expected margin between 0"):
        CurricularMargin(-0.1)
    with pytest.raises(ValueError, match="Expected momentum between 0"):
        CurricularMargin(momentum=1.1)
