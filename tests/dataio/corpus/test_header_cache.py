"""Claims about lengths kept from one preparation to the next."""

import os

import pytest

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.corpus import corpus as corpus_module
from ssps_plugin.dataio.corpus.header_cache import HeaderCache
from ssps_plugin.dataio.corpus.manifest import prepare_manifest


@pytest.fixture
def caches(tmp_path, monkeypatch):
    folder = tmp_path / "caches"
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(folder))
    return folder


@pytest.fixture
def corpus(tmp_path, write_noise, caches):
    for name in ("a/r/1.wav", "a/r/2.flac", "b/r/1.wav", "b/r/2.wav"):
        write_noise(f"data/{name}", 1.0)
    return tmp_path / "data"


def paths_read(reads, corpus):
    return sorted({os.path.relpath(path, corpus) for path, _ in reads})


@pytest.mark.parametrize(
    "change", [{"exclude_speakers": ["a"]}, {"min_seconds": 0.5}]
)
def test_other_settings_read_no_file_again(
    corpus, tmp_path, count_reads, change
):
    prepare_manifest(corpus, tmp_path / "train.csv")
    count_reads.clear()
    summary = prepare_manifest(corpus, tmp_path / "other.csv", **change)
    assert not summary.reused and count_reads == []


def test_a_new_file_alone_is_read(corpus, tmp_path, write_noise, count_reads):
    prepare_manifest(corpus, tmp_path / "train.csv")
    write_noise("data/a/s/3.wav", 2.0)
    count_reads.clear()
    summary = prepare_manifest(corpus, tmp_path / "train.csv")
    assert summary.hours * 3600 == pytest.approx(6.0)
    assert paths_read(count_reads, corpus) == ["a/s/3.wav"]


def test_a_changed_file_is_read_again(corpus, write_noise):
    headers = HeaderCache(corpus)
    assert headers.read_seconds("a/r/1.wav") == 1.0
    headers.save()
    write_noise("data/a/r/1.wav", 2.0)
    assert HeaderCache(corpus).read_seconds("a/r/1.wav") == 2.0
    written = os.stat(corpus / "a/r/1.wav")
    write_noise("data/a/r/1.wav", 4.0, rate=8000)
    assert os.stat(corpus / "a/r/1.wav").st_size == written.st_size
    assert HeaderCache(corpus).read_seconds("a/r/1.wav") == 4.0


def test_a_manifest_from_the_cache_is_the_one_that_was_read(corpus, tmp_path):
    read, cached = tmp_path / "read.csv", tmp_path / "cached.csv"
    prepare_manifest(corpus, read)
    prepare_manifest(corpus, cached)
    assert read.read_bytes() == cached.read_bytes()


def test_a_killed_preparation_goes_on_where_it_was(
    corpus, tmp_path, count_reads, monkeypatch
):
    save = HeaderCache.save

    def die(self):
        save(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_module, "_CHUNK_SIZE", 2)
    with monkeypatch.context() as patched:
        patched.setattr(HeaderCache, "save", die)
        with pytest.raises(KeyboardInterrupt):
            prepare_manifest(corpus, tmp_path / "train.csv", num_threads=1)
    count_reads.clear()
    prepare_manifest(corpus, tmp_path / "train.csv")
    assert not {"a/r/1.wav", "a/r/2.flac"} & set(
        paths_read(count_reads, corpus)
    )


@pytest.mark.parametrize("cut", [1, 5, 12, 30])
def test_a_row_that_was_cut_off_is_read_again(corpus, count_reads, cut):
    headers = HeaderCache(corpus)
    for name in ("a/r/1.wav", "a/r/2.flac"):
        headers.read_seconds(name)
    headers.save()
    with open(headers.path, "r+b") as file:
        file.truncate(os.path.getsize(headers.path) - 1 - cut)
    again = HeaderCache(corpus)
    again.read_seconds("b/r/1.wav")
    again.save()
    count_reads.clear()
    last = HeaderCache(corpus)
    assert (
        last.read_seconds("a/r/1.wav") == last.read_seconds("a/r/2.flac") == 1.0
    )
    # The row that was appended to the rest of another is lost with it.
    assert paths_read(count_reads, corpus) == ["a/r/2.flac"]


def test_what_cannot_be_read_is_tried_again(corpus):
    (corpus / "a/r/3.wav").write_bytes(b"garbage")
    for _ in range(2):
        headers = HeaderCache(corpus)
        with pytest.raises(AudioError):
            headers.read_seconds("a/r/3.wav")
        headers.save()
    assert len(HeaderCache(corpus)) == 0


def test_without_a_place_to_write_files_are_read_again(
    corpus, tmp_path, caches, count_reads
):
    caches.write_text("a file, where a folder should be")
    prepare_manifest(corpus, tmp_path / "train.csv")
    count_reads.clear()
    prepare_manifest(corpus, tmp_path / "other.csv")
    assert len(paths_read(count_reads, corpus)) == 4


def test_an_empty_variable_switches_it_off(corpus, monkeypatch):
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", "")
    headers = HeaderCache(corpus)
    assert headers.read_seconds("a/r/1.wav") == 1.0
    headers.save()
    assert len(HeaderCache(corpus)) == 0


def test_by_default_it_is_in_the_users_cache_folder(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.delenv("SSPS_PLUGIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert HeaderCache(corpus).path.startswith(
        str(tmp_path / "xdg" / "ssps_plugin" / "headers")
    )
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = HeaderCache(corpus).path
    assert path.startswith(str(tmp_path / "home" / ".cache" / "ssps_plugin"))


def test_corpora_do_not_share_a_cache(corpus, tmp_path):
    assert HeaderCache(corpus).path != HeaderCache(tmp_path).path


def test_the_tests_do_not_write_to_the_users_folder(own_cache_folder):
    assert os.environ["SSPS_PLUGIN_CACHE"] == str(own_cache_folder)
