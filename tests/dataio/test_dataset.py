"""Claims about manifests, and the table that holds their rows."""

import os
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


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "", "1e9"])
def test_a_duration_is_finite_and_above_0(tmp_path, value):
    manifest = _write(tmp_path, f"ID,wav,duration\na,/a,1\nb,/b,{value}\n")
    message = f"duration in seconds, .* for b in .*train.csv, got '{value}'"
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest)


def _rows(number, quote_in=None, place=0):
    """Rows of a manifest, with a stray quote before one's field."""
    rows = [["ID", "wav", "duration", "note"]]
    rows += [[f"u{n}", f"/{n}.wav", "1.5", "x"] for n in range(number)]
    if quote_in is not None:
        rows[quote_in][place] = '"' + rows[quote_in][place]
    return "\n".join(map(",".join, rows)) + "\n"


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("closed", [False, True])
def test_a_stray_quote_is_found_in_whatever_field(tmp_path, place, closed):
    text = _rows(40, quote_in=10, place=place)
    if closed:  # 24 rows further down, where another one begins a field
        text = text.replace("u33,/33.wav,1.5,x", 'u33,/33.wav,1.5,"x')
    with pytest.raises(ValueError, match=r"line 11\b.*quote|line 11 of"):
        load_manifest(_write(tmp_path, text))


def test_a_note_of_several_lines_is_no_stray_quote(tmp_path, write_noise):
    path = write_noise("a.wav", 1.0)
    text = f'ID,wav,duration,note\na,{path},1.0,"one\ntwo, or three"\n'
    dataset = load_manifest(_write(tmp_path, text))
    assert dataset.data["a"]["note"] == "one\ntwo, or three"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_an_error_that_names_the_file(tmp_path, encoding):
    manifest = tmp_path / "train.csv"
    text = "ID,wav,duration\na,/a.wav,1.0\né,/é.wav,1.0\n"
    manifest.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"train\.csv.*save it again as UTF-8"):
        load_manifest(manifest)


def test_a_field_without_end_is_an_error_that_names_file_and_line(tmp_path):
    text = "ID,wav,duration\na,/a.wav,1\nb," + 200_000 * "b" + ",1\n"
    with pytest.raises(ValueError, match=r"train\.csv, got from line 3 on"):
        load_manifest(_write(tmp_path, text))


def test_blanks_around_names_of_columns_do_not_count(tmp_path, write_noise):
    path = write_noise("a.wav", 1.0)
    text = f" ID , wav ,duration ,note\na , {path} , 1.0 , x y \n"
    dataset = load_manifest(_write(tmp_path, text))
    expected = {"wav": path, "duration": 1.0, "note": "x y"}
    assert dict(dataset.data) == {"a": expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ID,wav,wav,duration\na,/a,/b,1\n", "every column once.*several wav"),
        ("ID,wav,duration\n,/a.wav,1\n", "value for ID in line 2"),
        ("ID,wav,duration\na,,1\n", "value for wav in line 2"),
        ("ID,wav,duration\na,/a.wav,1,\n", "3 fields .* line 2 .*got 4"),
        ("ID;wav;duration\na;/a.wav;1\n", "separated by commas, got ID;wav"),
        ("ID,wav,duration\n\0\0\0\0\n", r"line 2 of .*got 1: \?\?\?\?"),
    ],
)
def test_a_table_that_is_none_is_an_error_with_the_line(
    tmp_path, text, message
):
    with pytest.raises(ValueError, match=message):
        load_manifest(_write(tmp_path, text))


def test_a_manifest_that_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(FileNotFoundError, match="something else at .*train"):
        load_manifest(tmp_path / "train.csv")


def test_a_few_lost_files_are_no_reason_not_to_start(tmp_path, write_noise):
    write_noise("5.wav", 1.0)
    rows = "".join(f"u{n},$data_root/{n}.wav,1\n" for n in range(10))
    manifest = _write(tmp_path, f"ID,wav,duration\n{rows}")
    assert len(load_manifest(manifest, tmp_path)) == 10
    os.remove(tmp_path / "5.wav")
    with pytest.raises(FileNotFoundError, match="change data_folder"):
        load_manifest(manifest, tmp_path)
