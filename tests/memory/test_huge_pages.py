"""Huge pages are asked for, and change nothing else."""

import ctypes
import mmap

import pytest
import torch

from ssps_plugin.memory import in_huge_pages

PAGE = 1 << 21


@pytest.fixture
def asked(monkeypatch):
    calls = []

    class Library:
        @staticmethod
        def madvise(start, length, advice):
            calls.append((start.value, length.value, advice))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 14, raising=False)
    return calls


def test_the_whole_huge_pages_within_the_table_are_asked_for(asked):
    table = torch.empty(5, PAGE, dtype=torch.uint8)
    assert in_huge_pages(table) is table
    ((start, length, advice),) = asked
    assert advice == 14
    assert start % PAGE == length % PAGE == 0
    assert 0 <= start - table.data_ptr() < PAGE
    end = table.data_ptr() + table.nbytes
    assert 0 <= end - (start + length) < PAGE


def test_a_table_that_fills_no_huge_page_asks_for_none(asked):
    in_huge_pages(torch.empty(1000))
    assert asked == []


def test_where_there_are_no_huge_pages_none_are_asked_for(asked, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    in_huge_pages(torch.empty(5, PAGE, dtype=torch.uint8))
    assert asked == []


def test_a_table_holds_what_is_written_to_it():
    table = in_huge_pages(torch.empty(3, PAGE, dtype=torch.uint8))
    table[:] = torch.tensor([[1], [2], [3]], dtype=torch.uint8)
    assert table.sum(1).tolist() == [PAGE, 2 * PAGE, 3 * PAGE]
