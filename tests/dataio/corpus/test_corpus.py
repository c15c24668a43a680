"""Claims about the files of corpora, with and without known speakers."""

import os

import pytest

from ssps_plugin.dataio.corpus.corpus import Corpus, UnlabelledCorpus


@pytest.mark.parametrize("prefix", ["", "wav/"])
def test_finds_the_files_at_the_layouts_depth_in_order(touch, tmp_path, prefix):
    names = ["b/r1/2.flac", "b/r1/1.wav", "a/r2/1.ogg", "a/r1/9.WAV"]
    touch(*(prefix + name for name in names))
    touch("readme.txt", prefix + "a/r1/notes.txt")
    touch(prefix + "a/too_high.wav", prefix + "a/r1/._9.wav")
    files = Corpus(tmp_path).files()
    assert [file.utterance_id for file in files] == [
        "a/r1/9",
        "a/r2/1",
        "b/r1/1",
        "b/r1/2",
    ]
    assert files[0].path == f"{prefix}a/r1/9.WAV"
    assert (files[3].speaker, files[3].recording) == ("b", "r1")


def test_excluded_speakers_are_left_out_and_counted(touch, tmp_path):
    touch("a/r/1.wav", "b/r/1.wav")
    corpus = Corpus(tmp_path, exclude_speakers=["b", "absent"])
    assert [file.speaker for file in corpus.files()] == ["a"]
    assert corpus.num_excluded == 1


def test_an_utterance_keeps_the_dots_in_its_name(touch, tmp_path):
    touch("a/r/1.2.3.wav")
    assert Corpus(tmp_path).files()[0].utterance_id == "a/r/1.2.3"


def test_a_missing_folder_names_the_layout_and_the_key(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        Corpus(tmp_path / "absent")
    for part in ("<speaker>/<recording>", "absent", "data_folder"):
        assert part in str(error.value)


def test_an_empty_folder_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ValueError, match="no speaker.*nothing.*data_folder"):
        Corpus(tmp_path)


def test_another_layout_is_an_error_that_shows_what_was_seen(touch, tmp_path):
    touch("a/first.wav", "a/second.wav", "b/third.wav")
    with pytest.raises(ValueError, match="a/first.wav, a/second.wav"):
        Corpus(tmp_path).files()


def test_an_error_for_m4a_files_gives_the_command_to_convert_them(
    touch, tmp_path
):
    touch("id1/video/00001.m4a")
    with pytest.raises(
        ValueError, match="m4a must be converted first: python -m"
    ):
        Corpus(tmp_path).files()


def test_excluding_every_speaker_is_an_error_that_says_so(touch, tmp_path):
    touch("a/r/1.wav")
    with pytest.raises(ValueError, match="1 speakers are in exclude_speakers"):
        Corpus(tmp_path, exclude_speakers=["a"])


@pytest.fixture
def corpora(touch, tmp_path):
    """Corpora as they are unpacked, beside each other."""
    touch(
        "vox1/vox1_dev_wav/wav/id10001/video/00001.wav",
        "vox1/vox1_test_wav/wav/id10270/video/00001.wav",
        "VoxCeleb2/dev/aac/id00012/video/00001.flac",
        "VoxCeleb2/dev/aac/id10001/other/00001.flac",
        "musan/noise/free-sound/noise.wav",
        "RIRS_NOISES/simulated_rirs/room/rir.wav",
    )
    return tmp_path


def test_corpora_as_they_are_unpacked_are_found_beside_each_other(corpora):
    corpus = Corpus(corpora, exclude_speakers=["id10270"])
    assert corpus.speakers == ["id00012", "id10001"]
    assert [file.path for file in corpus.files()] == [
        "VoxCeleb2/dev/aac/id00012/video/00001.flac",
        "VoxCeleb2/dev/aac/id10001/other/00001.flac",
        "vox1/vox1_dev_wav/wav/id10001/video/00001.wav",
    ]
    assert corpus.num_excluded == 1


@pytest.mark.parametrize(
    "prefix",
    ["", "wav/", "dev/wav/", "dev/aac/", "vox1_dev_wav/wav/", "a/b/c/wav/"],
)
def test_speakers_are_found_in_every_known_layout(touch, tmp_path, prefix):
    touch(f"{prefix}id1/video/1.flac", "readme/license.txt")
    corpus = Corpus(tmp_path)
    assert corpus.prefixes == [prefix]
    assert [f.utterance_id for f in corpus.files()] == ["id1/video/1"]


def test_a_link_to_a_corpus_is_followed(touch, tmp_path):
    touch("elsewhere/dev/aac/id1/video/1.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vox2").symlink_to(tmp_path / "elsewhere")
    files = Corpus(tmp_path / "data").files()
    assert [file.path for file in files] == ["vox2/dev/aac/id1/video/1.wav"]


def test_an_added_recording_of_any_corpus_changes_the_settings(corpora, touch):
    before = Corpus(corpora).settings()
    assert Corpus(corpora).settings() == before
    touch("VoxCeleb2/dev/aac/id00013/video/00001.flac")
    assert Corpus(corpora).settings() != before


@pytest.mark.parametrize("prefix", ["", "wav/"])
def test_noise_rooms_and_annotations_beside_speakers_are_no_speakers(
    touch, tmp_path, prefix
):
    touch(
        f"{prefix}id1/video/1.wav",
        f"{prefix}RIRS_NOISES/pointsource_noises/noise.wav",
        f"{prefix}simulated_rirs/smallroom/rir.wav",
        f"{prefix}musan/noise/noise.wav",
        f"{prefix}txt/id1/1.wav",
    )
    assert Corpus(tmp_path).speakers == ["id1"]


def test_folders_of_annotations_are_not_opened(touch, tmp_path, monkeypatch):
    touch("dev/aac/id1/video/1.wav", "dev/txt/id1/video/1.txt")
    touch("meta/id1/video/1.txt")
    opened, scandir = [], os.scandir

    def record(path):
        opened.append(os.path.relpath(path, tmp_path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)
    assert Corpus(tmp_path).prefixes == ["dev/aac/"]
    assert not [path for path in opened if "txt" in path or "meta" in path]


def test_compressed_files_are_listed_where_they_were_not_converted(
    touch, tmp_path
):
    touch("a/r/1.m4a", "a/r/1.flac", "a/r/2.MP4", "a/s/1.m4a")
    files = [file.path for file in Corpus(tmp_path).files()]
    assert files == ["a/r/1.flac", "a/r/2.MP4", "a/s/1.m4a"]


def unlabelled_paths(folder, **options):
    return [file.path for file in UnlabelledCorpus(folder, **options).files()]


def test_noise_and_rooms_are_passed_over(touch, tmp_path):
    touch("a.wav", "x/musan/noise/b.wav", "RIRS_NOISES/c/d.wav")
    assert unlabelled_paths(tmp_path) == ["a.wav"]


def test_a_loop_of_links_lists_every_file_once(touch, tmp_path):
    touch("x/y/a.wav", "b.wav")
    (tmp_path / "x" / "y" / "up").symlink_to(tmp_path)
    (tmp_path / "x" / "y" / "self").symlink_to(tmp_path / "x" / "y")
    assert unlabelled_paths(tmp_path) == ["b.wav", "x/y/a.wav"]


def test_what_a_link_leads_to_is_listed_where_it_really_is(touch, tmp_path):
    touch("z/test/a.wav", "b.wav")
    (tmp_path / "a_link").symlink_to(tmp_path / "z")
    assert unlabelled_paths(tmp_path, exclude_utterances=["z/test/a.wav"]) == [
        "b.wav"
    ]


def test_a_link_to_itself_or_to_nothing_is_no_folder(touch, tmp_path):
    touch("id1/video/a.wav")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nothing").symlink_to("absent")
    assert unlabelled_paths(tmp_path) == ["id1/video/a.wav"]
    assert Corpus(tmp_path).speakers == ["id1"]


def test_a_link_out_of_the_folder_is_followed(touch, tmp_path):
    touch("elsewhere/calls/a.wav", "data/b.wav")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    assert unlabelled_paths(tmp_path / "data") == ["b.wav", "more/calls/a.wav"]


def test_without_speakers_too_an_error_gives_the_command_to_convert(
    touch, tmp_path
):
    touch("calls/a.m4a", "b.mp4")
    with pytest.raises(ValueError) as error:
        UnlabelledCorpus(tmp_path).files()
    message = str(error.value)
    assert f"dataio.convert {tmp_path} TARGET: change data_folder" in message
    assert "got 0 such files; 2 others" in message
    assert "trials" not in message


def test_a_compressed_trial_keeps_its_conversion_out(touch, tmp_path):
    touch("a.flac", "test/b.flac")
    assert unlabelled_paths(tmp_path, exclude_utterances=["test/b.m4a"]) == [
        "a.flac"
    ]


def test_an_error_for_a_folder_without_audio_names_no_trials(touch, tmp_path):
    touch("notes.txt")
    with pytest.raises(ValueError, match="got 0 such files: change data_f"):
        UnlabelledCorpus(tmp_path, exclude_utterances=["a.wav"]).files()
