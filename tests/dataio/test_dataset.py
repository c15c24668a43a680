"""Claims about manifests, and the table that holds their rows."""

import pickle

import numpy as np
import pytest
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio import dataset as module
from ssps_plugin.dataio.dataset import (
    Table,
    TextColumn,
    load_manifest,
    read_column,
)

WORDS = ["a", "", "née", "日本", "a,b\n", "x" * 300]


def _write(tmp_path, text):
    (tmp_path / "train.csv").write_text(text)
    return tmp_path / "train.csv"


def test_data_root_is_filled_in(tmp_path, write_noise):
    path = write_noise("a.wav", 1.0)
    manifest = _write(tmp_path, "ID,wav,duration\na,$data_root/a.wav,1.0\n")
    dataset = load_manifest(manifest, data_root=tmp_path)
    assert dataset.data == {"a": {"wav": path, "duration": 1.0}}


def test_absolute_paths_need_no_root(tmp_path, write_noise):
    path = write_noise("a.wav", 1.0)
    manifest = _write(tmp_path, f"ID,duration,wav,note\na,1.0,{path},x\n")
    assert load_manifest(manifest).data["a"]["note"] == "x"


def test_a_missing_manifest_is_an_error_that_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="train_manifest"):
        load_manifest(tmp_path / "absent.csv")


def test_a_missing_column_is_named(tmp_path):
    manifest = _write(tmp_path, "ID,path\na,a.wav\n")
    with pytest.raises(ValueError, match="got ID, path: add wav and duration"):
        load_manifest(manifest)


@pytest.mark.parametrize("text", ["", "ID,wav,duration\n"])
def test_a_manifest_without_utterances_is_an_error(tmp_path, text):
    with pytest.raises(ValueError, match=r"train\.csv"):
        load_manifest(_write(tmp_path, text))


def test_a_root_without_the_audio_is_an_error_that_names_it(tmp_path):
    manifest = _write(tmp_path, "ID,wav,duration\na,$data_root/a.wav,1.0\n")
    with pytest.raises(FileNotFoundError, match="elsewhere.*data_folder"):
        load_manifest(manifest, data_root=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,$data_root/a.wav,1.0\n", "give data_folder"),
        ("a,$elsewhere/a.wav,1.0\n", r"\$elsewhere/a.wav for a"),
        ("a,/a.wav,1.0\nb,/b.wav,1.0s\n", "for b in .*got '1.0s'"),
        ("a,/a.wav,1.0\nb,/b.wav\n", "line 3 of .*got 2: b, /b.wav"),
        ("a,/a.wav,1.0\na,/b.wav,1.0\n", "every ID once, got a twice in"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, text, message):
    manifest = _write(tmp_path, f"ID,wav,duration\n{text}")
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest)


def test_a_spreadsheets_byte_order_mark_is_no_part_of_a_column(
    tmp_path, write_noise
):
    path = write_noise("a.wav", 1.0)
    text = f"\ufeffID,wav,duration\r\na,{path},1.0\r\n\r\n"
    manifest = _write(tmp_path, text)
    assert load_manifest(manifest).data == {"a": {"wav": path, "duration": 1.0}}


def test_it_reads_what_speechbrain_reads(tmp_path, write_noise):
    write_noise("a, b.wav", 1.0)
    text = (
        'ID, wav, duration, note\n"x, y", "$data_root/a, b.wav", 1, "é ""q"""\n'
    )
    manifest = _write(tmp_path, text)
    dataset = load_manifest(manifest, tmp_path)
    expected = DynamicItemDataset.from_csv(
        manifest, replacements={"data_root": str(tmp_path)}
    )
    assert dataset.data == expected.data
    assert list(dataset.data_ids) == expected.data_ids
    subset = dataset.filtered_sorted(key_min_value={"duration": 0.5})
    assert subset.data_ids == ["x, y"]


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
    assert read_column(whole, "wav") == expected  # by SpeechBrain's list of ids
    whole.data_ids = table.ids
    assert read_column(whole, "wav") == expected
    assert read_column(whole, "speaker") == [None] * 9
    assert read_column(DynamicItemDataset(rows), "wav") == expected
    late = whole.filtered_sorted(key_min_value={"duration": 3.0})
    assert read_column(late, "wav") == expected[6:]
