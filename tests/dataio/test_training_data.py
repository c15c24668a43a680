import pytest
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.training_data import load_manifest


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
