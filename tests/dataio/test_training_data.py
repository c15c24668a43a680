import pytest

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
