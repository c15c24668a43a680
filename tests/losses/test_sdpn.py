"""SDPN's loss, term by term, against loops in float64 and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin import SDPNLoss
from ssps_plugin.heads import Prototypes
from tests.losses.gradients import assert_close, assert_equal, with_gradients

DIM, EMBEDDING_DIM, NUM_PROTOTYPES = 4, 5, 6
ALL_TERMS = {
    "entropy_weight": 0.7,
    "diversity_weight": 0.3,
    "dimension_weight": 1.9,
}


def unit_rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def given(num_views=3, num_targets=1, batch=7):
    """Anchors (projections and embeddings), targets, prototypes."""
    projections = unit_rows(num_views, batch, DIM)
    embeddings = unit_rows(num_views, batch, EMBEDDING_DIM, seed=1)
    return (
        torch.cat([projections, embeddings], dim=-1),
        unit_rows(num_targets, batch, DIM, seed=2),
        unit_rows(NUM_PROTOTYPES, DIM, seed=3),
    )


def cosines_with(weight):
    return lambda features: features @ weight.T


def target_table(projections, weight, temperature, sharpening, iterations):
    """Sharpened predictions, scaled to equal columns, then rows, in turn."""
    table = []
    for row in projections.detach():
        powers = [
            math.exp(float(row @ other.detach()) / temperature)
            ** (1 / sharpening)
            for other in weight
        ]
        table.append([power / sum(powers) for power in powers])
    rows, columns = range(len(table)), range(len(weight))
    for _ in range(iterations):
        for k in columns:
            total = sum(table[n][k] for n in rows)
            for n in rows:
                table[n][k] /= total
        for n in rows:
            total = sum(table[n])
            for k in columns:
                table[n][k] /= total
    return table


def prediction(row, weight, temperature):
    """The softmax over prototypes of a projection, in numbers with gradient."""
    exponents = [(row @ other / temperature).exp() for other in weight]
    return [one / sum(exponents) for one in exponents]


def loss_by_loop(
    anchors,
    positives,
    weight,
    temperature=0.1,
    sharpening_temperature=0.25,
    num_iterations=3,
    entropy_weight=1.0,
    diversity_weight=0.1,
    dimension_weight=0.0,
):
    num_views, batch = anchors.shape[:2]
    projections, embeddings = anchors[..., :DIM], anchors[..., DIM:]
    predictions = [
        [prediction(row, weight, temperature) for row in view]
        for view in projections
    ]
    cross_entropy = 0.0
    for target in positives:
        table = target_table(
            target, weight, temperature, sharpening_temperature, num_iterations
        )
        for view in predictions:
            for wanted, found in zip(table, view, strict=True):
                for q, p in zip(wanted, found, strict=True):
                    cross_entropy = cross_entropy - q * p.log()
    total = cross_entropy / (num_views * batch * len(positives))
    entropy = 0.0
    for k in range(len(weight)):
        mean = sum(p[k] for view in predictions for p in view)
        mean = mean / (num_views * batch)
        entropy = entropy - mean * mean.log()
    total = total + entropy_weight * (math.log(len(weight)) - entropy)
    for view in embeddings:
        total = total + diversity_weight * nearness(view) / num_views
        total = total + dimension_weight * correlation(view) / num_views
    return total


def nearness(view):
    """Minus the mean logarithm of the distance to the nearest other row."""
    total = 0.0
    for i, row in enumerate(view):
        others = [other for j, other in enumerate(view) if j != i]
        distances = [(row - other).square().sum().sqrt() for other in others]
        total = total - min(distances).log()
    return total / len(view)


def correlation(view):
    """Frobenius norm of the correlation matrix minus 1, over its size."""
    batch, dim = view.shape
    centred = view - sum(view) / batch
    norms = [(centred[:, d] ** 2).sum().sqrt() for d in range(dim)]
    squares = 0.0
    for i in range(dim):
        for j in range(dim):
            product = (centred[:, i] * centred[:, j]).sum()
            entry = product / (norms[i] * norms[j]) - float(i == j)
            squares = squares + entry**2
    return squares.sqrt() / dim


@pytest.mark.parametrize(
    "settings",
    [
        {},
        ALL_TERMS,
        {"temperature": 0.5, "sharpening_temperature": 0.5},
        {"num_iterations": 1, "diversity_weight": 0.0},
        {"entropy_weight": 0.0, "diversity_weight": 0.0},
    ],
)
@pytest.mark.parametrize("num_targets", [1, 2])
def test_loss_and_gradients_equal_a_loop(num_targets, settings):
    anchors, positives, weight = given(num_targets=num_targets)
    found = with_gradients(
        lambda a, w: SDPNLoss(**settings)(a, positives, cosines_with(w)),
        anchors,
        weight,
    )
    expected = with_gradients(
        lambda a, w: loss_by_loop(a, positives.double(), w, **settings),
        anchors.double(),
        weight.double(),
    )
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_published_settings_are_the_defaults():
    anchors, positives, weight = given()
    published = SDPNLoss(0.1, 0.25, 3, 1.0, 0.1, 0.0)
    found = SDPNLoss()(anchors, positives, cosines_with(weight))
    assert found == published(anchors, positives, cosines_with(weight))


def bare(**weights):
    """A loss without the terms beside the cross entropy, but for `weights`."""
    none = dict.fromkeys(ALL_TERMS, 0.0)
    return SDPNLoss(**{**none, **weights})


def difference(anchors, positives=None, **weights):
    """What terms add to the cross entropy."""
    if positives is None:
        positives = given(batch=anchors.shape[1])[1]
    weight = cosines_with(given()[2])
    with_terms = bare(**weights)(anchors, positives, weight)
    return (with_terms - bare()(anchors, positives, weight)).item()


def test_views_that_agree_with_their_targets_lose_less():
    weight = torch.eye(DIM)
    rows = torch.eye(DIM)[None]
    anchors = torch.cat([rows, rows], dim=-1)
    agree = bare()(anchors, rows, cosines_with(weight))
    # Each is on its prototype: logits of 10 and three of 0; one-hot targets.
    expected = math.log(1 + (DIM - 1) * math.exp(-10))
    assert agree.item() == pytest.approx(expected, abs=1e-5)
    crossed = bare()(anchors, rows.flip(1), cosines_with(weight))
    assert crossed.item() == pytest.approx(10 + expected, abs=1e-3)


def test_the_entropy_term_by_hand():
    weight = torch.eye(DIM)
    spread = torch.eye(DIM)[None]
    one = spread[:, :1].expand(1, DIM, DIM)
    for rows, lacking in ((spread, 0.0), (one, math.log(DIM))):
        anchors = torch.cat([rows, rows], dim=-1)
        losses = [
            loss(anchors, spread, cosines_with(weight))
            for loss in (bare(), bare(entropy_weight=1.0))
        ]
        # At temperature 0.1 predictions are one-hot up to exp(-10).
        found = (losses[1] - losses[0]).item()
        assert found == pytest.approx(lacking, abs=3e-3)


def test_the_diversity_term_by_hand():
    # Two pairs at right angles; in a pair, at 60 degrees: distances of 1.
    angles = torch.tensor([0.0, 60.0, 180.0, 240.0]).deg2rad()
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    anchors = torch.cat([unit_rows(1, 4, DIM), embeddings[None]], dim=-1)
    assert difference(anchors, diversity_weight=1.0) == pytest.approx(
        0.0, abs=1e-5
    )
    angles = torch.tensor([0.0, 90.0, 180.0, 270.0]).deg2rad()
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    anchors = torch.cat([unit_rows(1, 4, DIM), embeddings[None]], dim=-1)
    assert difference(anchors, diversity_weight=1.0) == pytest.approx(
        -math.log(2) / 2, abs=1e-5
    )


def test_the_dimension_term_by_hand():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    uncorrelated = signs / 2**0.5
    # The same number twice: both entries off the diagonal are 1.
    same = signs[:, :1].expand(4, 2) / 2**0.5
    for embeddings, expected in ((uncorrelated, 0.0), (same, 2**0.5 / 2)):
        anchors = torch.cat([unit_rows(1, 4, DIM), embeddings[None]], dim=-1)
        assert difference(anchors, dimension_weight=1.0) == pytest.approx(
            expected, abs=1e-5
        )


def test_neighbours_are_of_the_same_view():
    view = unit_rows(1, 7, EMBEDDING_DIM)
    once = torch.cat([unit_rows(1, 7, DIM), view], dim=-1)
    # A second view that is the same: no distance of 0, no other mean.
    assert difference(
        torch.cat([once, once]), diversity_weight=1.0
    ) == pytest.approx(difference(once, diversity_weight=1.0), abs=1e-5)


@pytest.mark.parametrize("settings", [{}, ALL_TERMS])
def test_a_collapsed_batch_still_gets_a_finite_gradient(settings):
    rows = unit_rows(1, 1, DIM).expand(3, 7, DIM)
    anchors = torch.cat([rows, rows], dim=-1)
    weight = given()[2]
    for part in with_gradients(
        lambda a, w: SDPNLoss(**settings)(a, rows[:1], cosines_with(w)),
        anchors,
        weight,
    ):
        assert part.isfinite().all()


def test_a_prototype_that_nobody_predicts_gets_a_finite_gradient():
    rows = torch.eye(2).repeat(1, 3, 1)
    anchors = torch.cat([rows, rows], dim=-1)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
    for part in with_gradients(
        lambda a, w: SDPNLoss(temperature=0.005)(a, rows, cosines_with(w)),
        anchors,
        weight,
    ):
        assert part.isfinite().all()


def test_prototypes_learn_from_predictions_and_not_from_targets():
    anchors, positives, weight = given()
    calls = []

    def counted(features):
        calls.append(features.detach().clone())
        return features @ weight.T

    positives.requires_grad_()
    loss = SDPNLoss()(anchors.requires_grad_(), positives, counted)
    (rows,) = calls
    assert torch.equal(rows[:3], anchors.detach()[..., :DIM])
    assert torch.equal(rows[3:], positives.detach())
    found = torch.autograd.grad(loss, [anchors, positives], allow_unused=True)
    assert found[0].abs().sum() > 0 and found[1] is None


def test_targets_use_the_prototypes_equally():
    weight = unit_rows(3, DIM, seed=3)
    positives = F.normalize(unit_rows(1, 300, DIM) + 2 * weight[0], dim=-1)
    nearest = (positives[0] @ weight.T).argmax(-1).bincount(minlength=3)
    loss = SDPNLoss(num_iterations=50)
    targets = loss._targets(positives @ weight.T / loss.temperature)
    assert nearest[0] > 150
    torch.testing.assert_close(
        targets.sum(1)[0], torch.full((3,), 100.0), rtol=0.05, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    anchors, positives, weight = given()
    anchors, positives = anchors.to(dtype), positives.to(dtype)
    loss, cosines = SDPNLoss(**ALL_TERMS), cosines_with(weight)
    found = loss(anchors, positives, cosines)
    assert found.dtype == torch.float32
    assert found == loss(anchors.float(), positives.float(), cosines)


def test_autocast_changes_nothing():
    anchors, positives, _ = given()
    torch.manual_seed(0)
    module = Prototypes(DIM, NUM_PROTOTYPES, weight_norm=True)
    loss = SDPNLoss(**ALL_TERMS)

    def under_autocast(leaf):
        with torch.autocast("cpu", torch.bfloat16):
            return loss(leaf, positives, module)

    found = with_gradients(under_autocast, anchors)
    expected = with_gradients(lambda a: loss(a, positives, module), anchors)
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((3, 4, 9), (1, 5, 4)),
        ((3, 4, 4), (1, 4, 4)),
        ((4, 9), (4, 4)),
        ((3, 4, 9), (4, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(one, other):
    with pytest.raises(ValueError, match=r"Expected anchors \(num_views"):
        SDPNLoss()(torch.ones(one), torch.ones(other), torch.nn.Identity())


def test_a_batch_of_one_is_an_error():
    anchors, positives, weight = given(batch=1)
    with pytest.raises(ValueError, match="raise global_batch_size"):
        SDPNLoss()(anchors, positives, cosines_with(weight))


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"sharpening_temperature": -1.0},
        {"sharpening_temperature": math.nan},
        {"num_iterations": 0},
        {"entropy_weight": -0.1},
        {"diversity_weight": math.nan},
        {"dimension_weight": -1.0},
    ],
)
def test_settings_that_make_no_sense_are_an_error(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        SDPNLoss(**setting)
