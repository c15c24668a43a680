"""Whole rows copied into a table, against advanced indexing."""

import pytest
import torch

from ssps_plugin.memory import copy_rows

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3, 4, 6, 8, 64])
def test_equals_advanced_indexing_bit_for_bit(dim, dtype):
    generator = torch.Generator().manual_seed(dim)
    rows = torch.randn(5, dim, generator=generator)
    rows[1, 0], rows[2, -1] = float("nan"), float("inf")
    index = torch.tensor([7, 0, 3, 8, 1])
    table = torch.randn(9, dim, generator=generator).to(dtype)
    expected = table.clone()
    expected[index] = rows.to(dtype)
    copy_rows(table, index, rows)
    assert torch.equal(table.isnan(), expected.isnan())
    assert torch.equal(table.nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize(
    "view",
    [
        lambda rows: rows[:, 1:9],
        lambda rows: rows.flatten()[1:41].view(5, 8),
        lambda rows: rows.T[:5, :8],
        lambda rows: rows[::2, :8],
    ],
    ids=["columns", "offset", "transposed", "every other"],
)
def test_rows_that_are_a_view_are_copied_alike(view):
    rows = view(torch.arange(120.0).view(10, 12))[:5]
    table = torch.zeros(9, 8)
    index = torch.tensor([4, 2, 8, 0, 6])
    copy_rows(table, index, rows)
    assert torch.equal(table[index], rows)
    assert (table[1::2] == 0).all()


def test_the_last_of_repeated_rows_stays():
    table = torch.zeros(3, 4)
    copy_rows(table, torch.tensor([2, 2]), torch.arange(8.0).view(2, 4))
    assert table[2].tolist() == [4.0, 5.0, 6.0, 7.0]
