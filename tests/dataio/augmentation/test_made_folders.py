"""Claims about noise and rooms that are made, and the cache they are in."""

import fcntl
import multiprocessing
import os
import pathlib
import shutil
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from ssps_plugin.dataio import Augmentation, SharedEpoch, add_views
from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.augmentation import made_folders
from ssps_plugin.dataio.augmentation.made_folders import make_noise, make_rooms
from ssps_plugin.dataio.dataset import load_manifest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, for few and short files."""
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "cache"))
    for name, value in (
        *(("_NUM_NOISES", 2), ("_NUM_BABBLES", 2), ("_NUM_ROOMS", 2)),
        ("_SECONDS", 0.5),
    ):
        monkeypatch.setattr(made_folders, name, value)
    return tmp_path / "cache" / "augmentation"


@pytest.fixture
def utterances(write_noise):
    return [write_noise(f"data/{n}.wav", 0.2, seed=n) for n in range(4)]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in pathlib.Path(folder).rglob("*.wav")
    }


def test_the_same_files_give_the_same_bytes(tmp_path, monkeypatch, utterances):
    noise, rooms = make_noise(utterances, 16000), make_rooms(16000)
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "other"))
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copied = [path.replace("/data/", "/copy/") for path in utterances]
    others = make_noise(copied, 16000), make_rooms(16000)
    assert len(contents(noise)) == 4 and len(contents(rooms)) == 2
    assert contents(noise) == contents(others[0])
    assert contents(rooms) == contents(others[1])
    assert len(set(contents(noise).values())) == 4


def test_the_next_start_makes_nothing(monkeypatch, utterances):
    first = make_noise(utterances, 16000), make_rooms(16000)
    monkeypatch.setattr(made_folders, "_make", None)
    assert (make_noise(utterances, 16000), make_rooms(16000)) == first


def test_another_corpus_rate_or_content_has_another_folder(
    utterances, write_noise
):
    folders = [make_noise(utterances, 16000)]
    folders.append(make_noise(utterances[1:], 16000))
    folders.append(make_noise(utterances, 8000))
    before = contents(folders[0])
    write_noise("data/2.wav", 0.2, seed=9)
    folders.append(make_noise(utterances, 16000))
    assert len(set(folders)) == 4
    assert contents(folders[0]) == before != contents(folders[3])
    path = next(pathlib.Path(folders[2]).rglob("*.wav"))
    assert soundfile.info(path).samplerate == 8000
    assert soundfile.info(path).duration == 0.5


@pytest.mark.parametrize("damage", ["deleted", "truncated", "undescribed"])
def test_a_folder_that_lost_something_is_made_again(damage, utterances):
    folder = make_noise(utterances, 16000)
    before = contents(folder)
    path = pathlib.Path(folder, "speech", "0001.wav")
    if damage == "undescribed":
        path = pathlib.Path(folder, "made_of.json")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:99])
    else:
        path.unlink()
    assert make_noise(utterances, 16000) == folder
    assert contents(folder) == before


def test_of_two_processes_at_once_one_makes_it(
    tmp_path, monkeypatch, utterances
):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.SimpleQueue()
    write = made_folders._write_noise

    def write_slowly(*args):
        (tmp_path / f"made_by_{os.getpid()}").touch()
        time.sleep(0.3)
        write(*args)

    def start():
        barrier.wait(30)
        folder = make_noise(utterances, 16000)
        results.put((folder, sorted(contents(folder))))

    monkeypatch.setattr(made_folders, "_write_noise", write_slowly)
    processes = [context.Process(target=start) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    first, second = results.get(), results.get()
    assert first == second and len(first[1]) == 4
    assert len(list(tmp_path.glob("made_by_*"))) == 1


def test_without_locks_whoever_is_first_stays(cache, monkeypatch, utterances):
    write = made_folders._write_noise

    def fail(*args):
        raise OSError("no locks here")

    def write_beside_another(*args):
        monkeypatch.setattr(made_folders, "_write_noise", write)
        others.append(make_noise(utterances, 16000))
        others.append(os.stat(others[0]).st_ino)
        write(*args)

    others = []
    monkeypatch.setattr(fcntl, "flock", fail)
    monkeypatch.setattr(made_folders, "_write_noise", write_beside_another)
    folder = make_noise(utterances, 16000)
    assert others == [folder, os.stat(folder).st_ino]
    assert not list(cache.glob("*.unfinished"))


def test_what_a_killed_process_left_is_removed(cache, monkeypatch, utterances):
    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(made_folders, "_write_noise", die)
        patched.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            make_noise(utterances, 16000)
    assert list(cache.glob("*.unfinished"))
    assert len(contents(make_noise(utterances, 16000))) == 4
    assert not list(cache.glob("*.unfinished"))


def test_babble_is_the_sum_of_3_to_7_utterances(tmp_path, monkeypatch):
    monkeypatch.setattr(made_folders, "_NUM_BABBLES", 8)
    seconds, paths = np.arange(8000) / 16000, []
    for number in range(40):  # a tone each, as long as the babble
        paths.append(str(tmp_path / f"{number}.wav"))
        tone = 0.5 * np.sin(2 * np.pi * (200 + 100 * number) * seconds)
        soundfile.write(paths[-1], tone, 16000)
    numbers = []
    for path in pathlib.Path(make_noise(paths, 16000), "speech").iterdir():
        power = np.abs(np.fft.rfft(soundfile.read(path)[0])) ** 2
        numbers.append(int((power > power.max() / 100).sum()))
    assert set(numbers) <= {3, 4, 5, 6, 7}
    assert len(set(numbers)) > 2


def test_what_cannot_be_read_or_is_silent_is_no_voice(tmp_path, utterances):
    good = make_noise(utterances[:1], 16000)
    silent = str(tmp_path / "silent.wav")
    soundfile.write(silent, np.zeros(1600), 16000)
    lost = [silent, str(tmp_path / "gone.wav")]
    assert contents(make_noise([*utterances[:1], *lost], 16000)) == contents(
        good
    )
    with pytest.raises(AudioError, match="2 utterances.*change noise_folder"):
        make_noise(lost, 16000)
    with pytest.raises(ValueError, match="got none.*change noise_folder"):
        make_noise([], 16000)


def test_a_room_begins_with_the_direct_sound_and_decays():
    for path in pathlib.Path(make_rooms(16000)).iterdir():
        if path.suffix == ".wav":
            response, rate = soundfile.read(path)
            assert rate == 16000
            assert int(np.abs(response).argmax()) == 0
            early, late = np.split(response, [len(response) // 2])
            assert 0 < np.square(late).sum() < 0.1 * np.square(early).sum()


def test_without_pyroomacoustics_the_error_says_what_to_install(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pyroomacoustics", None)
        message = r"pip install ssps_plugin\[demo\].*change rir_folder"
        with pytest.raises(RuntimeError, match=message):
            Augmentation(rir_folder="simulated")
        Augmentation(noise_folder="synthetic")
    make_rooms(16000)
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    augment = Augmentation(rir_folder="simulated")
    augment.prepare([])
    assert len(augment.rirs) == 2


@pytest.mark.parametrize(
    ("key", "word"),
    [("noise_folder", "synthetic"), ("rir_folder", "simulated")],
)
def test_the_word_is_what_is_made_and_a_path_the_folder(
    key, word, tmp_path, monkeypatch, write_noise, utterances
):
    monkeypatch.chdir(tmp_path)
    path = write_noise(f"{word}/a.wav", 0.5)
    made = Augmentation(**{key: word})
    assert made.notes[0].endswith(f"the folder of this name here is ./{word}.")
    made.prepare(utterances)
    for folder in (f"./{word}", pathlib.Path(word)):
        augment = Augmentation(**{key: folder})
        augment.prepare(utterances)  # there is nothing to make
        (found,) = [*augment.noises.values(), augment.rirs][:1]
        assert [*map(os.path.abspath, found.paths)] == [path]


def test_each_word_is_of_its_key():
    for key, other in (
        ("noise_folder", "simulated"),
        ("rir_folder", "synthetic"),
    ):
        hint = f"change {key}; s.* has .* made, without a download"
        with pytest.raises(FileNotFoundError, match=hint):
            Augmentation(**{key: other})


@pytest.mark.parametrize("key", ["noise_folder", "rir_folder"])
def test_without_a_cache_the_error_says_where_to_have_one(key, monkeypatch):
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", "")
    word = {"noise_folder": "synthetic", "rir_folder": "simulated"}[key]
    with pytest.raises(ValueError, match=f"SSPS_PLUGIN_CACHE.*change {key}"):
        Augmentation(**{key: word})


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path, monkeypatch, utterances
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="set the environment variable SSPS"):
        make_noise(utterances, 16000)


def test_a_dataset_of_views_has_them_made_of_its_files(tmp_path, utterances):
    rows = "".join(f"{n},{path},0.2\n" for n, path in enumerate(utterances))
    (tmp_path / "train.csv").write_text(f"ID,wav,duration\n{rows}")
    augment = Augmentation("synthetic", "simulated")
    with pytest.raises(RuntimeError, match=r"call augmentation\.prepare"):
        augment(torch.ones(100), np.random.default_rng(0))
    dataset = load_manifest(tmp_path / "train.csv")
    add_views(dataset, 0.1, None, 1, SharedEpoch(), augmentation=augment)
    assert list(augment.noises) == ["noise", "speech"]
    made = make_noise(utterances, 16000)
    assert augment.noises["speech"].paths[0].startswith(made)
    first, second = dataset[0]["views"]
    assert not torch.equal(first, second)
