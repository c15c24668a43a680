"""DINO's loss and centre against loops in float64 and closed forms."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.losses import DINOCentering, DINOLoss


def outputs(num_views=5, num_global=2, batch=3, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(num_views, batch, dim, generator=generator)
    teacher = torch.randn(num_global, batch, dim, generator=generator)
    return student, teacher


def loss_by_loop(student, teacher, student_temperature, temperature, center):
    """Equation 3, pair by pair and utterance by utterance."""
    total, num_pairs = 0.0, 0
    for g in range(len(teacher)):
        for v in range(len(student)):
            if v == g:
                continue
            num_pairs += 1
            for u in range(student.shape[1]):
                q = ((teacher[g, u] - center) / temperature).softmax(0)
                log_p = (student[v, u] / student_temperature).log_softmax(0)
                total = total - (q * log_p).sum()
    return total / num_pairs / student.shape[1]


@pytest.mark.parametrize(("num_views", "num_global"), [(5, 2), (2, 2), (4, 1)])
def test_loss_and_gradient_equal_a_loop(num_views, num_global):
    student, teacher = outputs(num_views, num_global)
    student = student.requires_grad_()
    centering = DINOCentering(4, temperature=0.3)
    centering.center.copy_(torch.tensor([0.5, -0.25, 0.0, 1.0]))
    loss = DINOLoss(0.7)(student, teacher, centering)
    (gradient,) = torch.autograd.grad(loss, student)

    double = student.detach().double().requires_grad_()
    center = centering.center.double()
    expected = loss_by_loop(double, teacher.double(), 0.7, 0.3, center)
    (slow,) = torch.autograd.grad(expected, double)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), slow, rtol=1e-4, atol=1e-6)


def test_two_views_and_two_outputs_by_hand():
    # Both views' targets are (1/2, 1/2); the first view says (3/4, 1/4).
    student = torch.tensor([[[math.log(3.0), 0.0]], [[0.0, 0.0]]])
    teacher = torch.zeros(2, 1, 2)
    loss = DINOLoss(1.0)(student, teacher, DINOCentering(2, temperature=1.0))
    first = -0.5 * (math.log(0.75) + math.log(0.25))
    expected = (first + math.log(2.0)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_a_global_view_is_not_compared_with_itself():
    student, teacher = outputs(num_views=2)
    student = student.requires_grad_()
    loss = DINOLoss()(student, teacher, DINOCentering(4))
    changed = teacher.clone()
    changed[0] = -teacher[0]  # only view 1 is compared with it
    other = DINOLoss()(student, changed, DINOCentering(4))
    (before,) = torch.autograd.grad(loss, student)
    (after,) = torch.autograd.grad(other, student)
    torch.testing.assert_close(before[0], after[0], rtol=0, atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=0.1)


def test_the_teacher_gets_no_gradient():
    student, teacher = outputs()
    teacher = teacher.requires_grad_()
    loss = DINOLoss()(student.requires_grad_(), teacher, DINOCentering(4))
    loss.backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype):
    student, teacher = (part.to(dtype) for part in outputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DINOLoss()(student, teacher, DINOCentering(4))
    assert loss.dtype == torch.float32
    exact = DINOLoss()(student.float(), teacher.float(), DINOCentering(4))
    assert torch.equal(loss, exact)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((2, 3, 4), (2, 3, 5)), ((1, 3, 4), (1, 3, 4)), ((1, 3, 4), (2, 3, 4))],
)
def test_shapes_that_do_not_fit_are_an_error(student, teacher):
    with pytest.raises(ValueError, match="Expected the student's outputs"):
        DINOLoss()(torch.zeros(student), torch.zeros(teacher), DINOCentering(4))


def test_the_centre_is_a_moving_average_of_the_batches_means():
    centering = DINOCentering(4, momentum=0.9)
    expected = torch.zeros(4)
    for step in range(4):
        _, teacher = outputs(batch=3 + step, seed=step)
        centering.update(teacher)
        expected = 0.9 * expected + 0.1 * teacher.flatten(0, 1).mean(0)
    torch.testing.assert_close(centering.center, expected)


def test_the_centre_is_subtracted_before_the_temperature_divides():
    centering = DINOCentering(2, temperature=0.5)
    centering.center.copy_(torch.tensor([1.0, 0.0]))
    found = centering(torch.tensor([[2.0, 0.0]]))
    expected = torch.tensor([[2.0, 0.0]]).softmax(1)  # (2 - 1) / 0.5
    torch.testing.assert_close(found, expected)


def test_the_temperature_warms_up_linearly_over_the_epochs():
    centering = DINOCentering(
        2, temperature=0.07, warmup_temperature=0.04, warmup_epochs=4
    )
    found = []
    for epoch in (1, 2, 3, 4, 5, 50):
        centering.begin_epoch(epoch)
        found.append(centering.temperature)
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def test_without_warm_up_the_temperature_is_constant():
    centering = DINOCentering(2, temperature=0.04)
    centering.begin_epoch(1)
    assert centering.temperature == 0.04


def test_metrics_are_the_epochs_means_and_are_reset():
    centering = DINOCentering(4, temperature=0.5, momentum=0.0)
    entropies, spreads, information = [], [], []
    center = torch.zeros(4)
    for seed in range(3):
        _, teacher = outputs(seed=seed)
        centering.update(teacher)
        rows = teacher.flatten(0, 1)
        p = ((rows - center) / 0.5).softmax(1)
        entropies.append(-(p * p.log()).sum(1).mean())
        spreads.append(rows.std(0, correction=0).mean())
        # Mutual information: how far a row's distribution is from their mean.
        information.append((p * (p / p.mean(0)).log()).sum(1).mean())
        center = rows.mean(0)
    metrics = centering.metrics()
    mean = torch.stack(entropies).mean().item()
    assert metrics["teacher_entropy"] == pytest.approx(mean, rel=1e-5)
    mean = torch.stack(information).mean().item()
    assert metrics["teacher_information"] == pytest.approx(mean, rel=1e-4)
    mean = torch.stack(spreads).mean().item()
    assert metrics["output_std"] == pytest.approx(mean, rel=1e-5)
    assert centering.metrics() == {}


def generated(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("outputs", "fraction"),
    [
        # One-hot or uniform, or in between, but alike for all utterances.
        (F.one_hot(torch.zeros(16).long(), 8).float(), 0.0),
        (1e-6 * generated(16, 8), 1.0),
        (0.05 * generated(1, 64).expand(16, 64), 0.7),
        # Their information is small: 0.02 of the uniform entropy.
        (0.0155 * generated(256, 1024), 0.99),
    ],
)
def test_a_collapse_is_warned_of(outputs, fraction, caplog):
    num_outputs = outputs.shape[1]
    centering = DINOCentering(num_outputs)
    centering.update(outputs[None])
    with caplog.at_level(logging.WARNING):
        metrics = centering.metrics()
    assert "DINO has collapsed" in caplog.text
    uniform = math.log(num_outputs)
    found = metrics["teacher_entropy"] / uniform
    assert found == pytest.approx(fraction, abs=0.1)
    assert metrics["teacher_information"] < 0.03 * uniform


def outputs_telling(share):
    """A batch in which so large a share says something of its own."""
    rows = torch.zeros(1, 64, 1024)
    for place in range(round(64 * share)):
        rows[0, place, place] = 1.0
    return rows


def test_a_teacher_that_tells_no_more_than_at_first_is_unready():
    centering = DINOCentering(1024)
    assert centering.explain_unready() == ""  # nothing is known
    told = []
    for share, is_ready in ((0.25, False), (0.26, False), (0.5, True)):
        centering.update(outputs_telling(share))
        assert bool(centering.explain_unready()) == (len(told) > 0)
        told.append(centering.metrics()["teacher_information"])
        assert (told[-1] >= 1.25 * told[0]) == is_ready
        assert bool(centering.explain_unready()) != is_ready
    resumed = DINOCentering(1024)
    resumed.load_state_dict(centering.state_dict())
    resumed.update(outputs_telling(0.1))
    last = resumed.metrics()["teacher_information"]
    assert resumed.explain_unready() == (
        f"the teacher tells {last:.2f} nats of an utterance "
        f"(teacher_information), and told {told[0]:.2f} in the first epoch"
    )


def test_a_loss_of_information_is_warned_of_also_after_a_resume(caplog):
    whole, resumed = DINOCentering(1024), DINOCentering(1024)
    for spread in (0.06, 0.05, 0.03):
        whole.update(spread * generated(256, 1024)[None])
        with caplog.at_level(logging.WARNING):
            whole.metrics()
        if spread == 0.05:
            assert not caplog.text
            resumed.load_state_dict(whole.state_dict())
    resumed.update(0.03 * generated(256, 1024)[None])
    with caplog.at_level(logging.WARNING):
        metrics = resumed.metrics()
    # Above the fraction of the uniform entropy that alone is a collapse.
    assert metrics["teacher_information"] > 0.03 * math.log(1024)
    first, second = caplog.messages
    assert first == second
    assert "DINO has collapsed, or is about to" in first


@pytest.mark.parametrize("num_outputs", [1024, 65536])
def test_a_head_drawn_at_random_is_no_collapse(num_outputs, caplog):
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(1, 32, 256), dim=2)
    layer = F.normalize(torch.randn(num_outputs, 256), dim=1)
    centering = DINOCentering(num_outputs, temperature=0.07)
    centering.update(rows @ layer.T)
    with caplog.at_level(logging.WARNING):
        centering.metrics()
    assert not caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_temperature": 0.0, "warmup_epochs": 5}, "got 0.0"),
        ({"warmup_temperature": 0.02}, "both, or neither, got 0.02"),
        ({"warmup_epochs": 5}, "warmup_teacher_temperature"),
    ],
)
def test_half_a_warm_up_of_the_temperature_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DINOCentering(8, **options)


def test_healthy_outputs_are_no_collapse(caplog):
    centering = DINOCentering(8)
    centering.update(F.normalize(torch.randn(1, 16, 8), dim=2))
    with caplog.at_level(logging.WARNING):
        assert centering.metrics()["output_std"] > 0.1
    assert not caplog.text


def test_a_resume_inside_an_epoch_goes_on_with_centre_and_metrics():
    whole, first = DINOCentering(4), DINOCentering(4)
    for seed in range(2):
        for centering in (whole, first):
            centering.update(outputs(seed=seed)[1])
    resumed = DINOCentering(4)
    resumed.load_state_dict(first.state_dict())
    for centering in (whole, resumed):
        centering.update(outputs(seed=9)[1])
    assert torch.equal(whole.center, resumed.center)
    assert whole.metrics() == resumed.metrics()


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}]
)
def test_numbers_out_of_range_are_an_error(options):
    with pytest.raises(ValueError, match="Expected temperature > 0"):
        DINOCentering(4, **options)


def test_a_student_temperature_of_zero_is_an_error():
    with pytest.raises(ValueError, match="Expected student_temperature > 0"):
        DINOLoss(0.0)


def test_a_row_that_is_not_finite_does_not_reach_the_centre():
    rows = torch.randn(2, 3, 4)
    spoilt = rows.clone()
    spoilt[0, 1, 2] = float("nan")
    kept = torch.cat([rows[0, [0, 2]], rows[1]])
    centering, expected = DINOCentering(4), DINOCentering(4)
    centering.update(spoilt)
    expected.update(kept[None])
    torch.testing.assert_close(centering.center, expected.center)
    centering.update(torch.full((2, 3, 4), float("inf")))
    torch.testing.assert_close(centering.center, expected.center)
