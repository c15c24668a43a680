"""From names in a trial list to files on disk."""

import pytest

from ssps_plugin.evaluation import trial_files
from ssps_plugin.evaluation.trial_files import find_trial_files
from ssps_plugin.evaluation.trial_list import TrialList


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_one_file_per_utterance_in_their_order(tmp_path):
    files = {n: touch(tmp_path / n) for n in ("a/1.wav", "b/1.wav", "b/2.wav")}
    trials = TrialList.from_names(
        [1, 0], ["b/2.wav", "a/1.wav"], ["b/1.wav", "b/2.wav"]
    )
    found = find_trial_files(trials, tmp_path)
    assert found == [files[name] for name in trials.utterances]


@pytest.mark.parametrize(
    "there",
    ["id/1.wav", "wav/id/1.wav", "id/1.flac", "wav/id/1.ogg", "id/1.m4a"],
)
def test_finds_voxcelebs_layouts_and_other_suffixes(tmp_path, there):
    file = touch(tmp_path / there)
    trials = TrialList.from_names([1], ["id/1.wav"], ["id/1.wav"])
    assert find_trial_files(trials, str(tmp_path)) == [file]


def test_own_suffix_goes_before_others_and_the_folder_before_wav(tmp_path):
    trials = TrialList.from_names([1], ["1.flac"], ["1.flac"])
    for name in ("wav/1.wav", "1.wav", "wav/1.flac", "1.flac"):
        # Each is preferred to all that were there before.
        file = touch(tmp_path / name)
        assert find_trial_files(trials, tmp_path) == [file]


@pytest.mark.parametrize(
    ("dev", "test"),
    [
        ("vox1_dev_wav/wav", "vox1_test_wav/wav"),
        ("dev/wav", "test/wav"),
        ("voxceleb1/dev/wav", "voxceleb1/test/wav"),
    ],
)
def test_a_list_over_dev_and_test_is_found_as_voxceleb1_is_unpacked(
    tmp_path, dev, test
):
    first = touch(tmp_path / dev / "id10001/video/00001.wav")
    second = touch(tmp_path / test / "id10270/video/00001.flac")
    touch(tmp_path / "voxceleb2/dev/aac/id00012/video/00001.m4a")
    names = ["id10001/video/00001.wav", "id10270/video/00001.wav"]
    trials = TrialList.from_names([0], names[:1], names[1:])
    assert find_trial_files(trials, tmp_path) == [first, second]


def test_names_that_are_missing_everywhere_name_the_folders_of_speakers(
    tmp_path,
):
    touch(tmp_path / "dev/wav/id10001/video/00001.wav")
    names = ["id10001/video/00001.wav", "id10001/video/00002.wav"]
    trials = TrialList.from_names([1], names[:1], names[1:])
    with pytest.raises(FileNotFoundError, match="1 of 2.*dev/wav with"):
        find_trial_files(trials, tmp_path)


def test_the_corpus_is_not_searched_where_the_names_are_there(
    tmp_path, monkeypatch
):
    def search(folder):
        raise AssertionError(f"searched {folder}")

    monkeypatch.setattr(trial_files, "find_speaker_folders", search)
    file = touch(tmp_path / "wav/id/video/1.wav")
    trials = TrialList.from_names([1], ["id/video/1.wav"], ["id/video/1.wav"])
    assert find_trial_files(trials, tmp_path) == [file]


def test_name_without_suffix_is_found(tmp_path):
    file = touch(tmp_path / "id.1" / "utt.2.flac")
    trials = TrialList.from_names([1], ["id.1/utt.2"], ["id.1/utt.2"])
    assert find_trial_files(trials, tmp_path) == [file]


def test_folder_of_that_name_is_no_file(tmp_path):
    (tmp_path / "1.wav").mkdir()
    trials = TrialList.from_names([1], ["1.wav"], ["1.wav"])
    with pytest.raises(FileNotFoundError):
        find_trial_files(trials, tmp_path)


def test_missing_files_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path / "there.wav")
    names = ["there.wav", *(f"gone{i}.wav" for i in range(5))]
    trials = TrialList.from_names([1] * 6, names, names)
    with pytest.raises(FileNotFoundError) as error:
        find_trial_files(trials, tmp_path)
    message = str(error.value)
    assert "5 of 6 (gone0.wav, gone1.wav, gone2.wav, …)" in message
    assert f"{tmp_path} or {tmp_path / 'wav'}" in message
    assert "`trials_folder`" in message and "`trials`" in message


def test_missing_corpus_is_reported_alike(tmp_path):
    trials = TrialList.from_names([1], ["a.wav"], ["b.wav"])
    with pytest.raises(FileNotFoundError, match=r"2 of 2 \(a.wav, b.wav\)"):
        find_trial_files(trials, tmp_path / "nowhere")
