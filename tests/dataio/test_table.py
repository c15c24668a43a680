"""Claims about rows in flat buffers."""

import pickle

import numpy as np
import pytest
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio import table as module
from ssps_plugin.dataio.table import Table, TextColumn, column_of

WORDS = ["a", "", "née", "日本", "a,b\n", "x" * 300]


@pytest.mark.parametrize("block", [1, 2, 6, 100])
def test_a_column_gives_back_its_strings(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    column = TextColumn(iter(WORDS))
    assert list(column) == WORDS == [column[k] for k in range(len(WORDS))]
    assert column[-1] == WORDS[-1] and column[1:5:2] == WORDS[1:5:2]
    assert len(column) == len(WORDS) and "née" in column
    with pytest.raises(IndexError):
        column[len(WORDS)]


def test_an_empty_column_has_no_strings():
    assert list(TextColumn([])) == [] and len(TextColumn([])) == 0


def make_table(num=500):
    ids = [f"speaker{k % 7}/{k}" for k in range(num)]
    seconds = np.arange(num) / 2
    rows = {
        row_id: {"wav": f"/data/{row_id}.wav", "duration": float(second)}
        for row_id, second in zip(ids, seconds, strict=True)
    }
    wavs = TextColumn(f"/data/{row_id}.wav" for row_id in ids)
    return Table(TextColumn(ids), {"wav": wavs, "duration": seconds}), rows


def test_a_table_is_what_a_dict_of_dicts_would_be():
    table, rows = make_table()
    assert table == rows and list(table) == list(rows)
    assert type(table["speaker3/3"]["duration"]) is float
    assert "speaker0/1" not in table
    with pytest.raises(KeyError, match="nobody"):
        table["nobody"]
    assert pickle.loads(pickle.dumps(table)) == rows  # to spawned workers


def test_ids_of_one_digest_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "_digest", lambda row_id: len(row_id) % 3)
    table, rows = make_table(60)
    assert all(table[row_id] == row for row_id, row in rows.items())


@pytest.mark.parametrize("digest", [len, hash])
def test_an_id_that_comes_twice_is_refused(monkeypatch, digest):
    monkeypatch.setattr(module, "_digest", lambda one: digest(one) % 2**60)
    ids = TextColumn(["c", "a", "b", "a"])
    with pytest.raises(ValueError, match="got a twice"):
        Table(ids, {"duration": np.ones(4)})


def test_a_row_takes_no_more_than_its_text_and_a_few_numbers():
    table, _ = make_table(20_000)
    arrays = [
        table.ids._text,
        table.ids._ends,
        table._order,
        table._digests,
        table.columns["wav"]._text,
        table.columns["wav"]._ends,
        table.columns["duration"],
    ]
    text = sum(len(row_id) * 2 + 10 for row_id in table)
    assert sum(one.nbytes for one in arrays) < text + 48 * 20_000


def test_a_column_of_a_dataset_is_that_of_its_rows_in_their_order():
    table, rows = make_table(9)
    whole = DynamicItemDataset(table)
    expected = [row["wav"] for row in rows.values()]
    assert column_of(whole, "wav") == expected  # by SpeechBrain's list of ids
    whole.data_ids = table.ids
    assert column_of(whole, "wav") == expected
    assert column_of(whole, "speaker") == [None] * 9
    assert column_of(DynamicItemDataset(rows), "wav") == expected
    late = whole.filtered_sorted(key_min_value={"duration": 3.0})
    assert column_of(late, "wav") == expected[6:]
