"""Claims about files of embeddings, read back by independent readers."""

import csv
import pathlib
import struct

import numpy as np
import pytest

from ssps_plugin.commands.embedding_files import (
    check_output,
    write_ark,
    write_csv,
    write_npz,
)

NAMES = ["id1/a.wav", "id1/b.wav", "ü,\u6f22.wav"]


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 5)).astype(np.float32)
    rows[0, :2] = [1e-30, -3.4e38]
    return rows


def test_npz_gives_names_and_embeddings_back(tmp_path, embeddings):
    write_npz(tmp_path / "a.npz", NAMES, embeddings)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as table:
        assert table["names"].tolist() == NAMES
        np.testing.assert_array_equal(table["embeddings"], embeddings)
        assert table["embeddings"].dtype == np.float32


def test_csv_gives_every_float_back(tmp_path, embeddings):
    write_csv(tmp_path / "a.csv", NAMES, embeddings)
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "e0", "e1", "e2", "e3", "e4"]
    assert [row[0] for row in rows] == NAMES
    read = np.array([row[1:] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(read, embeddings)


def read_ark(path):
    """Read an archive of float vectors as Kaldi's documentation has it."""
    data, place, found = path.read_bytes(), 0, {}
    while place < len(data):
        end = data.index(b" ", place)
        key = data[place:end].decode()
        assert data[end + 1 : end + 7] == b"\0BFV \x04"
        (dim,) = struct.unpack_from("<i", data, end + 7)
        found[key] = np.frombuffer(data, "<f4", dim, end + 11)
        place = end + 11 + 4 * dim
    return found


def test_ark_is_what_the_format_says(tmp_path, embeddings):
    write_ark(tmp_path / "a.ark", NAMES, embeddings)
    found = read_ark(tmp_path / "a.ark")
    assert list(found) == NAMES
    for name, row in zip(NAMES, embeddings, strict=True):
        np.testing.assert_array_equal(found[name], row)


def test_ark_and_scp_are_read_by_kaldiio(tmp_path, embeddings, monkeypatch):
    kaldiio = pytest.importorskip("kaldiio")
    monkeypatch.chdir(tmp_path)
    write_ark(pathlib.Path("a.ark"), NAMES, embeddings)
    read = dict(kaldiio.load_ark("a.ark"))
    by_index = kaldiio.load_scp("a.scp")
    for name, row in zip(NAMES, embeddings, strict=True):
        np.testing.assert_array_equal(read[name], row)
        np.testing.assert_array_equal(by_index[name], row)
    assert list(read) == list(by_index) == NAMES


def test_a_name_with_white_space_is_refused_for_kaldi(tmp_path, embeddings):
    names = ["a b.wav", "c.wav", "d.wav"]
    with pytest.raises(ValueError, match=r"'a b\.wav': write \.npz or \.csv"):
        write_ark(tmp_path / "a.ark", names, embeddings)
    assert not list(tmp_path.iterdir())


def test_a_suffix_says_the_format(tmp_path):
    assert check_output(tmp_path / "a.NPZ", False) is write_npz
    with pytest.raises(ValueError, match=r"\.npz, \.csv, \.ark, got .*a\.txt"):
        check_output(tmp_path / "a.txt", False)


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path):
    path = tmp_path / "a.csv"
    path.touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        check_output(path, False)
    assert check_output(path, True) is write_csv
