"""A saved state that does not fit is named before any of it is loaded."""

import pytest
import torch

from ssps_plugin.memory import check_entries, check_ranges

OWN = {
    "queue.cursor": torch.tensor(0),
    "bank._table": torch.zeros(3, 2),
    "bank._seen": torch.zeros(3, dtype=torch.bool),
}


def test_what_fits_passes_in_any_float_dtype():
    check_entries({}, OWN)
    check_entries(OWN, OWN)
    check_entries({"bank._table": torch.ones(3, 2).half()}, OWN)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "queue.cursor",
            torch.tensor(0.0),
            "float32 of shape \\(\\): change que",
        ),
        (
            "queue.cursor",
            torch.tensor([0]),
            "int64 of shape \\(1,\\): change que",
        ),
        ("queue.cursor", 0, "got int: change queue_size, positive_dim and"),
        ("queue.cursor", None, "got NoneType: change queue_size"),
        ("bank._table", torch.zeros(3, 4), r"\(3, 4\): change reference_dim"),
        ("bank._table", torch.zeros(3, 2).int(), "torch.int32"),
        ("bank._seen", torch.zeros(3), "of torch.bool .* got torch.float32"),
    ],
)
def test_what_does_not_fit_is_named_with_its_settings(name, value, message):
    with pytest.raises(RuntimeError, match=f"Expected {name}.*{message}"):
        check_entries({name: value}, OWN)


@pytest.mark.parametrize("wrong", [-2, 5, 2**40])
def test_a_number_out_of_its_range_is_named(wrong):
    check_ranges({"x": torch.tensor([-1, 4])}, {"x": (-1, 5), "y": (0, 1)})
    check_ranges({"x": torch.zeros(0).long()}, {"x": (-1, 5)})
    with pytest.raises(
        RuntimeError, match=rf"x in \[-1, 5\).*got {wrong}: the"
    ):
        check_ranges({"x": torch.tensor([0, wrong])}, {"x": (-1, 5)})
