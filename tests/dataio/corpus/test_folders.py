"""Claims about walks through folders, and data folders linked as one."""

import errno
import os
import shlex

import pytest

from ssps_plugin.dataio.corpus.corpus import Corpus
from ssps_plugin.dataio.corpus.folders import (
    conversion_command,
    link_data_folders,
    path_in_data_folder,
    select_audio,
    walk_folders,
)
from tests.recipes.corpora import write_corpus


@pytest.fixture
def folders(tmp_path):
    """Two folders of one name, and a hidden one."""
    made = [tmp_path / name for name in ("a/dev", "b/dev", "c/.dev")]
    for folder in made:
        folder.mkdir(parents=True)
        (folder / "mark").write_text(str(folder))
    return made


def marks(joined):
    return {path.name: (path / "mark").read_text() for path in joined.iterdir()}


def test_folders_of_one_name_get_links_of_distinct_visible_names(
    folders, tmp_path
):
    joined = tmp_path / "out" / "data"
    link_data_folders(folders, joined)
    names = ["dev", "dev-2", "dev-3"]
    expected = dict(zip(names, map(str, folders), strict=True))
    assert marks(joined) == expected


def test_right_links_stay_and_wrong_ones_go(folders, tmp_path):
    joined = tmp_path / "data"
    link_data_folders(folders[:2], joined)
    kept = (joined / "dev").lstat().st_ino
    link_data_folders([folders[0], folders[2]], joined)
    expected = {"dev": str(folders[0]), "dev-2": str(folders[2])}
    assert marks(joined) == expected
    link_data_folders(folders[:1], joined)
    assert marks(joined) == {"dev": str(folders[0])}
    assert (joined / "dev").lstat().st_ino == kept


def test_a_folder_given_relatively_is_found_from_everywhere(
    folders, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    link_data_folders(["a/dev"], "data")
    monkeypatch.chdir(tmp_path / "b")
    assert marks(tmp_path / "data") == {"dev": str(folders[0])}


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], ValueError, "got none"),
        (["a/dev", "gone"], FileNotFoundError, "gone: change data_folder"),
        (["a/dev", "a/../a/dev"], ValueError, "twice"),
    ],
)
def test_mistakes_are_named_and_nothing_is_linked(
    folders, tmp_path, names, error, message
):
    with pytest.raises(error, match=message):
        link_data_folders(
            [tmp_path / name for name in names], tmp_path / "data"
        )
    assert not (tmp_path / "data").exists()


def test_what_is_no_link_is_not_replaced(folders, tmp_path):
    (tmp_path / "data" / "dev").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="output_folder"):
        link_data_folders(folders, tmp_path / "data")


def test_a_joined_corpus_is_that_of_its_folders(tmp_path):
    joined = tmp_path / "data"
    first = write_corpus(tmp_path / "a", num_speakers=2)
    second = write_corpus(tmp_path / "b", num_speakers=3)
    (second / "wav").rename(second / "dev")
    link_data_folders([first, second], joined)
    corpus = Corpus(joined)
    assert corpus.prefixes == ["a/wav/", "b/dev/"]
    assert corpus.speakers == ["id000", "id001", "id002"]


def test_a_file_is_found_below_the_folder_however_it_is_named(
    folders, tmp_path
):
    joined = tmp_path / "data"
    link_data_folders(folders, joined)
    expected = "dev-2/x/1.wav"
    assert path_in_data_folder(folders[1] / "x" / "1.wav", joined) == expected
    assert path_in_data_folder(joined / expected, joined) == expected
    assert path_in_data_folder(tmp_path / "1.wav", joined) == "../1.wav"


def walked_files(top, **options):
    walk = walk_folders(top, **options)
    return sorted(f"{folder}{name}" for folder, names in walk for name in names)


def test_a_walk_lists_every_file_but_hidden_ones(touch, tmp_path):
    touch("b.wav", "a/x/c.wav", ".hidden/d.wav", "a/.e.wav")
    assert walked_files(tmp_path) == [".hidden/d.wav", "a/x/c.wav", "b.wav"]


def test_a_walk_passes_over_skipped_folders_and_all_below(touch, tmp_path):
    touch("b.wav", "a/x/c.wav", "x/y/d.wav")
    assert walked_files(tmp_path, is_skipped=lambda name: name == "x") == [
        "b.wav"
    ]


def test_a_walk_through_a_loop_of_links_comes_to_each_folder_once(
    touch, tmp_path
):
    touch("x/y/a.wav")
    (tmp_path / "x" / "y" / "up").symlink_to(tmp_path)
    assert [folder for folder, _ in walk_folders(tmp_path)] == [
        "",
        "x/",
        "x/y/",
    ]


@pytest.mark.parametrize("num_links", [1, 2])
def test_links_back_into_a_corpus_give_no_speaker_twice(
    touch, tmp_path, num_links
):
    touch("data/vox/wav/id1/a/1.wav", "data/vox/wav/id2/b/1.wav")
    for number in range(num_links):
        for folder in ("data", "data/vox"):
            link = tmp_path / folder / f"again{number}"
            link.symlink_to(tmp_path / "data")
    corpus = Corpus(tmp_path / "data")
    assert corpus.prefixes == ["vox/wav/"]
    assert [file.path for file in corpus.files()] == [
        "vox/wav/id1/a/1.wav",
        "vox/wav/id2/b/1.wav",
    ]


def test_a_folder_that_cannot_be_read_is_passed_over(
    touch, tmp_path, monkeypatch, caplog
):
    touch("id1/a/1.wav", "id2/b/1.wav", "id3/c/1.wav")
    original = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("id2"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    expected = ["id1/a/1", "id3/c/1"]
    files = Corpus(tmp_path).files()
    assert [file.utterance_id for file in files] == expected
    walked = [names for _, names in walk_folders(tmp_path) if names]
    assert walked == [["1.wav"]] * 2
    with pytest.raises(OSError, match="gone"):
        list(walk_folders(tmp_path / "gone"))


def test_audio_is_known_by_any_of_its_suffixes():
    names = ["a.MP3", "b.opus", "b.ogg", "c.wma", "c.mp3", "d.amr", "e.txt"]
    assert select_audio(names) == ["a.MP3", "b.ogg", "c.mp3", "d.amr"]


def test_the_command_to_convert_can_be_pasted():
    command = conversion_command("/data/my corpus")
    assert shlex.split(command)[-2:] == ["/data/my corpus", "TARGET"]
