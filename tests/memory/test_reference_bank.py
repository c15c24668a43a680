"""The reference memory against a plain-Python dictionary."""

import pytest
import torch

from ssps_plugin.memory import ReferenceBank

NAN = float("nan")


def bank_of(num_utterances, dim=1, dtype=torch.float32):
    bank = ReferenceBank(dim, dtype)
    bank.allocate(num_utterances)
    return bank


def write(bank, index, references, valid=None):
    references = torch.tensor(references, dtype=torch.float32)[:, None]
    valid = None if valid is None else torch.tensor(valid)
    bank.write(torch.tensor(index), references, valid)


def held(bank):
    index, references = bank.read_seen()
    return dict(zip(index.tolist(), references.tolist(), strict=True))


def test_an_empty_bank_has_seen_nothing():
    assert held(bank_of(4)) == {}


def test_a_later_reference_replaces_an_earlier_one():
    bank = bank_of(3)
    write(bank, [2, 0], [1.0, 2.0])
    write(bank, [2], [3.0])
    assert held(bank) == {0: [2.0], 2: [3.0]}
    assert bank.seen.tolist() == [True, False, True]


def test_the_last_row_of_a_repeated_utterance_wins():
    bank = bank_of(3)
    write(bank, [1, 0, 1, 1], [1.0, 2.0, 3.0, 4.0])
    assert held(bank) == {0: [2.0], 1: [4.0]}


def test_an_invalid_row_changes_nothing():
    bank = bank_of(3)
    write(bank, [1], [1.0])
    write(bank, [1, 2], [NAN, NAN], valid=[False, False])
    assert held(bank) == {1: [1.0]}
    assert bank.references.isfinite().all()


def test_scratch_rows_are_never_visible():
    bank = bank_of(2)
    write(bank, [0, 0, 1], [666.0, 1.0, 666.0], valid=[True, True, False])
    assert bank.references.tolist() == [[1.0], [0.0]]
    assert bank.seen.tolist() == [True, False]
    write(bank, [1, 1], [666.0, 2.0])
    assert bank.references.tolist() == [[1.0], [2.0]]
    assert bank.read_seen()[0].tolist() == [0, 1]


def test_a_full_bank_is_read_without_a_copy():
    bank = bank_of(2)
    write(bank, [0, 1], [1.0, 2.0])
    assert bank.read_seen()[1].data_ptr() == bank.references.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_references_rounded_once(dtype):
    bank = bank_of(50, dim=8, dtype=dtype)
    references = torch.nn.functional.normalize(
        torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=1
    )
    bank.write(torch.arange(50), references)
    assert torch.equal(bank.references, references.to(dtype))


def test_allocate_forgets_everything():
    bank = bank_of(2)
    write(bank, [0, 1], [1.0, 2.0])
    bank.allocate(3)
    assert held(bank) == {}
    assert bank.references.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("num_utterances", [1, 7, 40])
def test_equals_a_dictionary_over_hundreds_of_steps(num_utterances):
    generator = torch.Generator().manual_seed(num_utterances)
    bank = bank_of(num_utterances, dim=3)
    expected = {}
    for _ in range(300):
        index = torch.randint(num_utterances, (6,), generator=generator)
        references = torch.randn(6, 3, generator=generator)
        valid = torch.rand(6, generator=generator) > 0.3
        bank.write(index, references, valid)
        last_row = {utterance: i for i, utterance in enumerate(index.tolist())}
        for utterance, row in last_row.items():
            if valid[row]:
                expected[utterance] = references[row].tolist()
        assert held(bank) == expected
        assert bank.seen.sum() == len(expected)
