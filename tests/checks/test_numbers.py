"""Claims about checks.numbers: what is a number, and what is in range."""

import math

import numpy as np
import pytest
import torch

from ssps_plugin.checks import (
    check_whole_number,
    is_above,
    is_from_to,
    is_number,
)

NO_NUMBERS = [None, True, "1", [1], torch.tensor(1.0), 1j]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_in_no_range(value):
    assert not is_number(value)
    assert not is_above(-math.inf, value)
    assert not is_from_to(-math.inf, math.inf, value)
    with pytest.raises(ValueError, match="a whole number, got"):
        check_whole_number("queue_size", value)


@pytest.mark.parametrize("value", [3, np.int64(3), np.float32(3)], ids=repr)
def test_numbers_of_numpy_are_numbers(value):
    assert is_number(value) and is_above(2, value) and is_from_to(3, 3, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_in_no_range(value):
    assert is_number(value)
    assert not is_above(-math.inf, value)
    assert not is_from_to(-math.inf, math.inf, value)


def test_bounds():
    assert is_from_to(0, 1, 0) and is_from_to(0, 1, 1)
    assert not is_from_to(0, 1, 1.01)
    assert not is_above(0, 0) and not is_above(0, 1, -1) and is_above(0, 1, 2)


def test_whole_numbers():
    check_whole_number("seed", -3)
    check_whole_number("seed", np.int32(4), at_least=4)
    with pytest.raises(ValueError, match=r"seed of at least 5, got 4: change"):
        check_whole_number("seed", 4, at_least=5)
    with pytest.raises(ValueError, match=r"seed, a whole number, got 4\.0"):
        check_whole_number("seed", 4.0)
