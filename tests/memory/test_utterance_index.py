"""Utterance ids, their positions and their fingerprint."""

import pytest
import torch

from ssps_plugin.memory import UtteranceIndex

CPU = torch.device("cpu")


def test_a_position_is_the_place_in_the_bound_order():
    utterances = UtteranceIndex(["z", "a", "m"])
    assert utterances.positions(["a", "z", "a"], CPU).tolist() == [1, 0, 1]


def test_positions_pass_as_they_are():
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
    with pytest.raises(ValueError, match="'x' was never bound"):
        UtteranceIndex(["a", "b"]).positions(["a", "x"], CPU)


@pytest.mark.parametrize("outside", [-1, 2])
def test_a_position_out_of_range_is_named(outside):
    with pytest.raises(ValueError, match=f"got one at {outside}"):
        UtteranceIndex(["a", "b"]).positions(torch.tensor([0, outside]), CPU)


@pytest.mark.parametrize("ids", [torch.zeros(2), torch.zeros(2, 1).long()])
def test_a_tensor_that_holds_no_positions_is_an_error(ids):
    with pytest.raises(ValueError, match="integer positions of shape"):
        UtteranceIndex(["a", "b"]).positions(ids, CPU)


def test_no_ids_say_what_to_pass():
    with pytest.raises(ValueError, match="ids=batch.id"):
        UtteranceIndex(["a"]).positions(None, CPU)
