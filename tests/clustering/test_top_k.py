"""The largest values of long rows, against sorting all of them."""

import pytest
import torch

from ssps_plugin.clustering import top_k


@pytest.mark.parametrize("num_columns", [1024, 1030, 1087])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_equals_sorting_whole_rows(
    unit_vectors, num_columns: int, count: int
) -> None:
    # The largest values side by side, at the end and at the start.
    values = unit_vectors(50, num_columns)
    values[0, 64:70] += 2
    values[1, -6:] += 2
    values[2, :3] += 2

    order = values.argsort(dim=1, descending=True)
    found, columns = top_k(values, count)
    assert torch.equal(columns, order[:, :count])
    assert torch.equal(found, values.gather(1, columns))


@pytest.mark.parametrize("num_columns", [1, 7, 8, 9, 64, 288, 1003])
@pytest.mark.parametrize("num", [1, 2, 8, 31, 33, 500])
def test_equals_topk_with_values_that_are_infinite(
    num_columns: int, num: int
) -> None:
    generator = torch.Generator().manual_seed(num)
    values = torch.randn(20, num_columns, generator=generator)
    values[:, ::5] = -torch.inf
    values[0] = -torch.inf

    expected = values.topk(min(num, num_columns), dim=1).values
    found, columns = top_k(values, min(num, num_columns))
    assert torch.equal(found, expected)
    assert torch.equal(values.gather(1, columns), found)
    for row in columns.tolist():
        assert len(set(row)) == len(row)
