"""Masks over rows, where None is the mask that is true everywhere."""

import itertools

import pytest
import torch

from ssps_plugin.memory.row_mask import both, choose

MASKS = [None, torch.tensor([True, False, True]), torch.zeros(3).bool()]


def written_out(mask):
    return torch.ones(3).bool() if mask is None else mask


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.product(MASKS, MASKS))
)
def test_no_mask_is_a_mask_that_is_true_everywhere(first, second):
    found = both(first, second)
    expected = written_out(first) & written_out(second)
    assert torch.equal(written_out(found), expected)
    values = torch.tensor([4, 5, 6])
    chosen = choose(found, values, otherwise=-1)
    assert torch.equal(chosen, torch.where(expected, values, -1))
