"""Operations on the rows of a step, against loops."""

import math

import pytest
import torch

from ssps_plugin.memory import resolve_repeats, substitute

ROWS = [[2, -1, 0, 2], [-1, -1, -1, -1], [1, 0, 0, 4]]


@pytest.mark.parametrize("num_utterances", [1, 4, 100])
def test_repeats_equal_a_loop(num_utterances):
    generator = torch.Generator().manual_seed(num_utterances)
    for batch in (1, 2, 9, 30):
        index = torch.randint(num_utterances, (batch,), generator=generator)
        rows = index.tolist()
        repeats = resolve_repeats(index)
        last = [
            utterance not in rows[i + 1 :] for i, utterance in enumerate(rows)
        ]
        assert repeats.is_last.tolist() == last
        assert repeats.num_distinct == len(set(rows))
        places = repeats.place[repeats.is_last].tolist()
        assert places == list(range(len(set(rows))))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_substitution_equals_a_loop(rows, dtype):
    generator = torch.Generator().manual_seed(0)
    positives = torch.randn(2, 4, 3, generator=generator).to(dtype)
    pool = torch.randn(2, 5, 3, generator=generator)
    substituted = substitute(positives, pool, torch.tensor(rows))
    assert substituted.dtype == dtype
    for target in range(2):
        for anchor, row in enumerate(rows):
            own, drawn = positives[target, anchor], pool[target, row].to(dtype)
            expected = drawn if row >= 0 else own
            assert torch.equal(substituted[target, anchor], expected)


def test_gradient_reaches_kept_rows_alone_and_exactly():
    positives = torch.ones(1, 3, 2, requires_grad=True)
    pool = torch.zeros(1, 2, 2)
    substituted = substitute(positives, pool, torch.tensor([1, -1, 0]))
    weights = torch.arange(6.0).view(1, 3, 2)
    (substituted * weights).sum().backward()
    assert positives.grad.tolist() == [[[0.0, 0.0], [2.0, 3.0], [0.0, 0.0]]]


def test_what_is_not_taken_may_be_nan():
    positives = torch.tensor([[[math.nan], [2.0]]])
    pool = torch.tensor([[[math.nan], [6.0]]])
    substituted = substitute(positives, pool, torch.tensor([1, -1]))
    assert substituted.flatten().tolist() == [6.0, 2.0]


def test_what_comes_out_is_no_view_of_the_pool():
    pool = torch.zeros(1, 2, 1)
    substituted = substitute(torch.ones(1, 1, 1), pool, torch.tensor([1]))
    pool.fill_(9.0)
    assert substituted.flatten().tolist() == [0.0]
