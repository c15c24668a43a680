"""Claims about the listing of audio in folders of any layout."""

import pytest

from ssps_plugin.dataio.audio_tree import AudioTree
from ssps_plugin.dataio.corpus import Corpus


@pytest.fixture
def touch(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def paths_of(folder, **options):
    return [file.path for file in AudioTree(folder, **options).files()]


def test_noise_and_rooms_are_passed_over(touch, tmp_path):
    touch("a.wav", "x/musan/noise/b.wav", "RIRS_NOISES/c/d.wav")
    assert paths_of(tmp_path) == ["a.wav"]


def test_a_loop_of_links_lists_every_file_once(touch, tmp_path):
    touch("x/y/a.wav", "b.wav")
    (tmp_path / "x" / "y" / "up").symlink_to(tmp_path)
    (tmp_path / "x" / "y" / "self").symlink_to(tmp_path / "x" / "y")
    assert paths_of(tmp_path) == ["b.wav", "x/y/a.wav"]


def test_what_a_link_leads_to_is_listed_where_it_really_is(touch, tmp_path):
    touch("z/test/a.wav", "b.wav")
    (tmp_path / "a_link").symlink_to(tmp_path / "z")
    assert paths_of(tmp_path, exclude_utterances=["z/test/a.wav"]) == ["b.wav"]


def test_a_link_to_itself_or_to_nothing_is_no_folder(touch, tmp_path):
    touch("id1/video/a.wav")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nothing").symlink_to("absent")
    assert paths_of(tmp_path) == ["id1/video/a.wav"]
    assert Corpus(tmp_path).speakers == ["id1"]


def test_a_link_out_of_the_folder_is_followed(touch, tmp_path):
    touch("elsewhere/calls/a.wav", "data/b.wav")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    assert paths_of(tmp_path / "data") == ["b.wav", "more/calls/a.wav"]


def test_compressed_files_alone_are_told_to_be_converted(touch, tmp_path):
    touch("calls/a.m4a", "b.mp4")
    with pytest.raises(ValueError) as error:
        AudioTree(tmp_path).files()
    message = str(error.value)
    assert f"dataio.convert {tmp_path} TARGET: change data_folder" in message
    assert "found 0 such files; 2 others" in message
    assert "trials" not in message


def test_a_compressed_trial_keeps_its_conversion_out(touch, tmp_path):
    touch("a.flac", "test/b.flac")
    assert paths_of(tmp_path, exclude_utterances=["test/b.m4a"]) == ["a.flac"]


def test_a_folder_without_audio_is_no_matter_of_the_trials(touch, tmp_path):
    touch("notes.txt")
    with pytest.raises(ValueError, match="found 0 such files: change data_f"):
        AudioTree(tmp_path, exclude_utterances=["a.wav"]).files()
