"""What a step brings: its utterances, shapes, finite rows, and its checks."""

import pytest
import torch

from ssps_plugin.memory import (
    PositiveLayout,
    Step,
    UtteranceIndex,
    check_step,
)

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


def test_a_position_is_the_place_in_the_bound_order():
    utterances = UtteranceIndex(["z", "a", "m"])
    assert utterances.positions(["a", "z", "a"], CPU).tolist() == [1, 0, 1]


def test_positions_of_any_integer_dtype_pass_as_they_are():
    utterances = UtteranceIndex(["z", "a", "m"])
    for dtype in (torch.int64, torch.int32, torch.uint8):
        positions = torch.tensor([2, 0], dtype=dtype)
        assert utterances.positions(positions, CPU).tolist() == [2, 0]


@pytest.mark.parametrize(
    "other",
    [["ab", "c", "d"], ["abc", "d", ""], ["abc"], ["d", "abc"], ["abc", "e"]],
)
def test_other_utterances_or_another_order_have_another_fingerprint(other):
    ours = UtteranceIndex(["abc", "d"]).fingerprint
    assert UtteranceIndex(other).fingerprint != ours
    assert UtteranceIndex(("abc", "d")).fingerprint == ours


def test_no_utterance_is_an_error():
    with pytest.raises(ValueError, match="training set is empty"):
        UtteranceIndex([])


def test_an_id_twice_is_an_error():
    with pytest.raises(ValueError, match="3 ids of which 2 are distinct"):
        UtteranceIndex(["a", "b", "a"])


def test_an_id_never_bound_is_named():
    with pytest.raises(ValueError, match="got 'x', which was never bound"):
        UtteranceIndex(["a", "b"]).positions(["a", "x"], CPU)


@pytest.mark.parametrize("outside", [-1, 2])
def test_a_position_out_of_range_is_named(outside):
    with pytest.raises(ValueError, match=f"got {outside}, which was never"):
        UtteranceIndex(["a", "b"]).positions(torch.tensor([0, outside]), CPU)


@pytest.mark.parametrize("ids", [torch.zeros(2), torch.zeros(2, 1).long()])
def test_a_tensor_that_holds_no_positions_is_an_error(ids):
    with pytest.raises(ValueError, match="integer positions of shape"):
        UtteranceIndex(["a", "b"]).positions(ids, CPU)


def test_no_ids_say_what_to_pass():
    with pytest.raises(ValueError, match="ids=batch.id"):
        UtteranceIndex(["a"]).positions(None, CPU)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.double])
def test_a_row_with_one_bad_number_is_not_finite(dtype):
    reference = torch.ones(7, 2)
    positives = torch.ones(2, 7, 3, dtype=dtype)
    reference[1, 0] = NAN
    reference[2, 1] = -INF
    positives[0, 3, 2] = INF
    positives[1, 4, 0] = NAN
    positives[0, 5, 0], positives[1, 5, 1] = INF, -INF
    step = Step(torch.arange(7), reference, positives)
    expected = [True, False, False, False, False, False, True]
    assert step.finite_rows().tolist() == expected


@pytest.mark.parametrize("where", [0, 1, 6])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_one_bad_number_in_a_large_step_is_found(where, bad):
    generator = torch.Generator().manual_seed(where)
    reference = torch.randn(7, 300, generator=generator)
    positives = torch.randn(2, 7, 500, generator=generator)
    step = Step(torch.arange(7), reference, positives)
    assert step.finite_rows().all()
    for tensor in (reference, positives[1]):
        kept = float(tensor[where, 299])
        tensor[where, 299] = bad
        step = Step(torch.arange(7), reference, positives)
        assert step.finite_rows().tolist() == [i != where for i in range(7)]
        tensor[where, 299] = kept


def test_rows_whose_joint_sum_overflows_are_finite():
    # Every row is finite, though a sum over all rows would overflow.
    reference = torch.full((4, 2), 1e38)
    step = Step(torch.arange(4), reference, torch.ones(1, 4, 3))
    assert step.finite_rows().tolist() == [True] * 4


def test_large_half_precision_positives_are_finite():
    positives = torch.full((1, 1, 100), 60000.0, dtype=torch.float16)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows().all()


def test_a_double_beyond_float32_is_not_finite():
    positives = torch.full((1, 1, 1), 1e300, dtype=torch.double)
    step = Step(torch.zeros(1).long(), torch.ones(1, 2), positives)
    assert step.finite_rows().tolist() == [False]


def check(ids, reference, positives, reference_dim=2, num_targets=1):
    return check_step(
        ids,
        reference,
        positives,
        utterances=UtteranceIndex(["a", "b", "c"]),
        layout=PositiveLayout(num_targets, 3),
        reference_dim=reference_dim,
        device=CPU,
    )


def test_the_reference_comes_detached_in_float32():
    reference = torch.ones(2, 2, dtype=torch.double, requires_grad=True)
    step = check(["a", "c"], reference, torch.zeros(2, 3))
    assert step.index.tolist() == [0, 2]
    assert not step.reference.requires_grad
    assert step.reference.dtype == torch.float32


def test_a_reference_of_speechbrains_shape_is_accepted():
    reference = torch.arange(4.0).view(2, 1, 2)
    step = check(["a", "c"], reference, torch.zeros(2, 3))
    assert step.reference.tolist() == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 2, 2), (2,)])
def test_a_reference_of_another_shape_names_the_key(shape):
    with pytest.raises(
        ValueError, match="reference_dim of the PositiveSampler"
    ):
        check(["a", "c"], torch.zeros(shape), torch.zeros(2, 3))


def test_no_reference_says_how_to_make_one():
    with pytest.raises(ValueError, match="reference_representation"):
        check(["a", "c"], None, torch.zeros(2, 3))


def test_another_device_is_named_for_what_is_on_it():
    there = torch.device("meta")
    reference, positives = torch.zeros(2, 2), torch.zeros(2, 3)
    with pytest.raises(
        ValueError, match="reference on cpu.* reference on meta"
    ):
        check(["a", "c"], reference.to(there), positives)
    with pytest.raises(
        ValueError, match="positives on cpu.* positives on meta"
    ):
        check(["a", "c"], reference, positives.to(there))
