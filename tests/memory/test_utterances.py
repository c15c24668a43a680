"""The utterances of a training set: their ids, positions and fingerprint."""

import collections

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
)

from ssps_plugin.memory import UtteranceIndex, find_ids

CPU = torch.device("cpu")


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


@pytest.mark.parametrize("ids", ["a", b"a", 5])
def test_one_id_is_no_batch(ids):
    with pytest.raises(ValueError, match="ids=batch.id"):
        UtteranceIndex(["a", "b"]).positions(ids, CPU)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_other_tensors_than_of_integers_are_no_positions(dtype):
    with pytest.raises(ValueError, match="integer positions of shape"):
        UtteranceIndex(["a", "b"]).positions(torch.ones(2, dtype=dtype), CPU)


def test_ids_that_are_other_numbers_warn_once_of_a_tensor(caplog):
    utterances = UtteranceIndex([30, 10, 20])
    assert utterances.positions([20, 30], CPU).tolist() == [2, 0]
    assert not caplog.records
    for _ in range(2):
        found = utterances.positions(torch.tensor([2, 0]), CPU)
        assert found.tolist() == [2, 0]
    (record,) = caplog.records
    assert "read as their positions in [0, 3)" in record.message
    UtteranceIndex(range(3)).positions(torch.tensor([2, 0]), CPU)
    assert len(caplog.records) == 1


def test_a_file_name_that_is_no_text_has_a_fingerprint():
    name = b"\xe9t\xe9.wav".decode("utf-8", "surrogateescape")
    utterances = UtteranceIndex([name, "b"])
    assert utterances.positions([name], CPU).tolist() == [0]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([{"id": "a"}, {"id": "b"}], "dict"),
        ([["a"], ["b"]], "list"),
        ([torch.zeros(2), torch.zeros(2)], "Tensor"),
        ([(torch.zeros(2), 1), (torch.ones(2), 2)], "Tensor"),
        ([object(), object()], "object"),
        ([np.zeros(2), np.zeros(2)], "ndarray"),
    ],
)
def test_rows_are_no_ids(rows, named):
    with pytest.raises(ValueError, match=f"{named}.*: pass the id of each row"):
        UtteranceIndex(rows)


class Unread(Dataset):
    """A dataset of torch's whose items must not be read."""

    def __getitem__(self, index):
        raise AssertionError("bind must not read the corpus")

    def __len__(self):
        return 3


class WithoutLength(Dataset):
    def __getitem__(self, index):
        return index  # for ever


class Stream(IterableDataset):
    def __iter__(self):
        raise AssertionError("bind must not read the corpus")

    def __len__(self):
        return 3


class Rows:
    """No dataset of torch's, but one in all but name."""

    __getitem__ = Unread.__getitem__
    __len__ = Unread.__len__

    def __iter__(self):
        raise AssertionError("bind must not read the corpus")


def endless():
    raise AssertionError("bind must not read the corpus")
    yield


@pytest.mark.parametrize(
    "dataset",
    [
        Unread(),
        Rows(),
        Subset(WithoutLength(), [5, 7, 9]),
        ConcatDataset([Unread(), Unread()]),
        torch.utils.data.TensorDataset(torch.zeros(3, 4)),
    ],
    ids=["Dataset", "duck", "Subset", "ConcatDataset", "TensorDataset"],
)
def test_in_another_dataset_an_id_is_a_position(dataset):
    assert find_ids(dataset) == range(len(dataset))
    utterances = UtteranceIndex(find_ids(dataset))
    assert utterances.positions([2, 0], CPU).tolist() == [2, 0]
    assert utterances.positions(torch.tensor([2, 0]), CPU).tolist() == [2, 0]


def test_a_part_of_a_dataset_with_ids_has_those():
    class Named(Dataset):
        data_ids = ["a", "b", "c", "d"]

    part = Subset(Subset(Named(), [3, 1, 0]), torch.tensor([2, 0]))
    assert find_ids(part) == ["a", "d"]
    part.data_ids = ["x", "y"]
    assert find_ids(part) == ["x", "y"]


def test_ids_in_any_container_with_an_order_are_the_ids():
    ids = ["a", "b", "c"]
    rows = dict.fromkeys(ids, {"wav": "x"})
    for container in (
        *(ids, tuple(ids), rows, rows.keys(), np.array(ids)),
        *(collections.OrderedDict(rows), collections.deque(ids)),
        DynamicItemDataset(rows),
    ):
        found = UtteranceIndex(find_ids(container))
        assert found.fingerprint == UtteranceIndex(ids).fingerprint
        assert found.positions(["c", "a"], CPU).tolist() == [2, 0]
    assert find_ids(torch.tensor([4, 2])) == [4, 2]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (DataLoader(Unread()), r"got a DataLoader: .*bind\(loader\.dataset\)"),
        ("train.csv", "got a str 'train.csv': read the file"),
        (b"train.csv", "got a bytes"),
        ({"a", "b"}, r"got a set: bind sorted\(ids\)"),
        (frozenset("ab"), r"got a frozenset: bind sorted\(ids\)"),
        (endless(), "got a generator: bind a list of the ids"),
        (iter(["a"]), "iterator: bind a list of the ids"),
        (map(str, range(3)), "got a map: bind a list of the ids"),
        (WithoutLength(), "got a WithoutLength: bind a list of the ids"),
        (Stream(), "got a Stream: bind a list of the ids"),
        (None, "got a NoneType: bind a list"),
        (True, "got a bool: bind a list"),
        (7.0, "got a float: bind a list"),
        (torch.tensor(7), "got a Tensor: bind a list"),
    ],
)
def test_what_has_no_length_or_no_order_is_refused_unread(dataset, message):
    with pytest.raises(ValueError, match=message):
        find_ids(dataset)


@pytest.mark.parametrize("number", [7, np.int64(7)])
def test_a_number_is_that_many_utterances(number):
    bound = UtteranceIndex(find_ids(number))
    assert bound.fingerprint == UtteranceIndex(range(7)).fingerprint


@pytest.mark.parametrize("number", [0, -3])
def test_a_number_of_none_is_an_empty_training_set(number):
    with pytest.raises(ValueError, match="the training set is empty"):
        UtteranceIndex(find_ids(number))
