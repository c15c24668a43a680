"""Claims about folders of noise and impulse responses, and their layouts."""

import os

import numpy as np
import pytest
import soundfile
import torch

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.augmentation.augmentation import Augmentation
from ssps_plugin.dataio.augmentation.folders import (
    AudioFolder,
    find_noise_folders,
    find_rir_folder,
)

CATEGORIES = ["noise", "speech", "music"]


def test_a_stretch_is_read_and_no_more(tmp_path, write_ramp, count_reads):
    write_ramp("noise/deep/er/a.wav", 160000)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    count_reads.clear()
    rng = np.random.default_rng(0)
    stretches = [folder.draw_stretch(16000, rng) for _ in range(20)]
    assert {frames for _, frames in count_reads} == {16000}
    for stretch in stretches:
        assert torch.equal(stretch, torch.arange(16000) + stretch[0])
    assert len({int(stretch[0]) for stretch in stretches}) == 20


def test_a_short_file_is_repeated(tmp_path, write_ramp):
    write_ramp("noise/a.wav", 100)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    stretch = folder.draw_stretch(250, np.random.default_rng(0))
    assert torch.equal(stretch, torch.arange(250) % 100)


def test_every_file_is_drawn(tmp_path, write_noise):
    for n in range(5):
        write_noise(f"noise/{n}.flac", 0.1, seed=n)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    rng = np.random.default_rng(0)
    firsts = {float(folder.draw_file(rng)[0]) for _ in range(60)}
    assert len(firsts) == 5


def test_files_that_cannot_be_read_whole_are_left_out(
    tmp_path, write_noise, truncate
):
    good = write_noise("noise/good.wav", 1.0)
    truncate(write_noise("noise/cut.flac", 1.0), 0.3)
    (tmp_path / "noise" / "garbage.wav").write_bytes(b"garbage")
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    assert folder.paths == [good]


def test_a_missing_folder_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="change rir_folder"):
        AudioFolder(tmp_path / "absent", "rir_folder")


def test_a_folder_without_audio_names_the_key(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(ValueError, match="got 0 such files.*noise_folder"):
        AudioFolder(tmp_path, "noise_folder")


def test_the_next_start_opens_no_file(
    tmp_path, monkeypatch, write_noise, count_reads
):
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "cache"))
    for name in ("a.wav", "deep/er/b.flac"):
        write_noise(f"noise/{name}", 1.0)
    first = AudioFolder(tmp_path / "noise", "noise_folder")
    count_reads.clear()
    second = AudioFolder(tmp_path / "noise", "noise_folder")
    assert count_reads == []
    assert second.paths == first.paths
    assert second.seconds.tolist() == first.seconds.tolist() == [1.0, 1.0]


def test_names_of_several_lines_are_drawn_too(
    tmp_path, monkeypatch, write_noise
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(cache))
    path = write_noise("noise/a\nb.wav", 1.0)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    assert folder.paths == [path]
    assert not cache.exists()


@pytest.mark.parametrize("local_rank", [0, 1])
def test_one_process_of_a_machine_writes_the_cache(
    tmp_path, monkeypatch, write_noise, local_rank
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(cache))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    write_noise("noise/a.wav", 1.0)
    AudioFolder(tmp_path / "noise", "noise_folder")
    assert cache.exists() == (local_rank == 0)


def test_a_loop_of_links_gives_every_file_once(tmp_path, write_noise):
    path = write_noise("noise/deep/a.wav", 1.0)
    (tmp_path / "noise" / "deep" / "up").symlink_to(tmp_path / "noise")
    assert AudioFolder(tmp_path / "noise", "noise_folder").paths == [path]


@pytest.fixture
def write(tmp_path):
    """Write a file of some seconds, and return the corpora's folder."""

    def write_file(name, seconds):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.zeros(round(seconds * 16000))
        samples[0] = 0.5
        soundfile.write(path, samples, 16000)

    return write_file


@pytest.fixture
def musan(write, tmp_path):
    for category in CATEGORIES:
        write(f"musan/{category}/source/a.wav", 6.0)
    return tmp_path / "data" / "musan"


@pytest.fixture
def rirs_noises(write, tmp_path):
    """OpenSLR-28 as it is unpacked, a file to a part."""
    write("RIRS_NOISES/simulated_rirs/smallroom/Room001/a.wav", 0.5)
    write("RIRS_NOISES/simulated_rirs/mediumroom/Room001/a.wav", 0.5)
    write("RIRS_NOISES/simulated_rirs/largeroom/Room001/a.wav", 0.5)
    write("RIRS_NOISES/real_rirs_isotropic_noises/a.wav", 1.0)
    write("RIRS_NOISES/pointsource_noises/a.wav", 3.0)
    return tmp_path / "data" / "RIRS_NOISES"


def paths_of(augmentation):
    folders = [*augmentation.noises.values()]
    if augmentation.rirs is not None:
        folders.append(augmentation.rirs)
    return {path for folder in folders for path in folder.paths}


@pytest.mark.parametrize("given", ["musan", "."])
def test_musan_is_used_itself_or_in_the_folder_that_holds_it(musan, given):
    augment = Augmentation(noise_folder=musan.parent / given)
    assert list(augment.noises) == CATEGORIES
    assert len(paths_of(augment)) == 3
    assert augment.notes == [f"Noise comes from {musan}: noise, speech, music."]


def test_the_folder_that_holds_musan_may_write_it_in_capitals(musan):
    renamed = musan.rename(musan.parent / "MUSAN")
    found = find_noise_folders(musan.parent, CATEGORIES)
    assert found["music"] == str(renamed / "music")


def test_both_corpora_in_one_folder_serve_both_keys(musan, rirs_noises):
    augment = Augmentation(musan.parent, musan.parent)
    parts = {
        path.split("/data/")[1].split("/")[0] for path in paths_of(augment)
    }
    assert parts == {"musan", "RIRS_NOISES"}
    assert len(augment.rirs) == 3


def test_a_category_that_musan_lacks_is_named(write, tmp_path):
    write("musan/noise/source/a.wav", 6.0)
    augment = Augmentation(noise_folder=tmp_path / "data")
    musan = tmp_path / "data" / "musan"
    assert augment.notes == [
        f"Noise comes from {musan}: noise; there is no speech and no music."
    ]


def test_any_folder_of_noise_is_of_the_category_noise_and_that_is_said(
    write, tmp_path
):
    write("fans/deep/a.wav", 2.0)
    fans = tmp_path / "data" / "fans"
    augment = Augmentation(noise_folder=fans)
    assert list(augment.noises) == ["noise"]
    (note,) = augment.notes
    assert f"{fans}, which is not laid out like MUSAN" in note


def test_point_source_noises_are_noise_when_given_as_noise(rirs_noises):
    folder = rirs_noises / "pointsource_noises"
    assert find_noise_folders(folder, CATEGORIES) == {"noise": str(folder)}


@pytest.mark.parametrize("given", ["RIRS_NOISES", "."])
def test_of_openslr_28_the_simulated_responses_alone_are_used(
    rirs_noises, given
):
    augment = Augmentation(rir_folder=rirs_noises.parent / given)
    simulated = rirs_noises / "simulated_rirs"
    assert paths_of(augment) == {str(path) for path in simulated.rglob("*.wav")}
    assert augment.notes == [f"Room impulse responses come from {simulated}."]


@pytest.mark.parametrize(
    "given",
    [
        "simulated_rirs",
        "simulated_rirs/smallroom",
        "real_rirs_isotropic_noises",
    ],
)
def test_any_folder_of_impulse_responses_is_used_as_it_is(rirs_noises, given):
    folder = str(rirs_noises / given)
    assert find_rir_folder(folder) == folder


@pytest.mark.parametrize("given", ["musan", "."])
def test_musan_is_no_folder_of_impulse_responses(musan, given):
    with pytest.raises(ValueError, match="got MUSAN.*change rir_folder"):
        Augmentation(rir_folder=musan.parent / given)


def test_musan_by_another_name_is_no_folder_of_impulse_responses(musan):
    renamed = musan.rename(musan.parent / "rooms")
    with pytest.raises(ValueError, match="got MUSAN's.*change rir_folder"):
        Augmentation(rir_folder=renamed)


@pytest.mark.parametrize("given", ["", "pointsource_noises"])
def test_point_source_noises_are_never_impulse_responses(rirs_noises, given):
    (rirs_noises / "simulated_rirs").rename(rirs_noises.parent / "elsewhere")
    with pytest.raises(ValueError, match="point-source.*change rir_folder"):
        Augmentation(rir_folder=rirs_noises / given)


@pytest.mark.parametrize("given", ["RIRS_NOISES", "."])
def test_openslr_28_without_simulated_responses_is_refused(
    write, tmp_path, given
):
    write("RIRS_NOISES/real_rirs_isotropic_noises/a.wav", 1.0)
    with pytest.raises(
        ValueError, match="without simulated_rirs in .*change rir_folder"
    ):
        Augmentation(rir_folder=tmp_path / "data" / given)


@pytest.mark.parametrize(
    "given",
    [
        "RIRS_NOISES",
        "RIRS_NOISES/simulated_rirs",
        "RIRS_NOISES/real_rirs_isotropic_noises",
        ".",
    ],
)
def test_impulse_responses_are_no_noise(rirs_noises, given):
    with pytest.raises(ValueError, match="change noise_folder"):
        Augmentation(noise_folder=rirs_noises.parent / given)


def test_simulated_responses_by_another_name_are_no_noise(rirs_noises):
    simulated = rirs_noises / "simulated_rirs"
    renamed = simulated.rename(rirs_noises.parent / "rooms")
    with pytest.raises(ValueError, match="change noise_folder"):
        Augmentation(noise_folder=renamed)


@pytest.mark.parametrize(("seconds", "fits"), [(4.9, True), (5.1, False)])
def test_files_of_more_than_five_seconds_are_no_impulse_responses(
    write, tmp_path, seconds, fits
):
    write("rooms/a.wav", 0.3)
    write("rooms/b.wav", seconds)
    write("rooms/c.wav", 9.0)
    rooms = tmp_path / "data" / "rooms"
    if fits:
        assert len(Augmentation(rir_folder=rooms).rirs) == 3
    else:
        with pytest.raises(ValueError, match=r"5\.1 s.*change rir_folder"):
            Augmentation(rir_folder=rooms)


@pytest.mark.parametrize("key", ["noise_folder", "rir_folder"])
@pytest.mark.parametrize("name", ["musan", "RIRS_NOISES", "simulated_rirs"])
def test_a_folder_that_is_missing_is_called_missing(tmp_path, key, name):
    with pytest.raises(FileNotFoundError, match=f"change {key}"):
        Augmentation(**{key: tmp_path / name})


@pytest.mark.parametrize("draw", ["stretch", "file"])
def test_a_file_lost_while_training_is_named_and_another_is_drawn(
    tmp_path, write_noise, caplog, draw
):
    for number in range(9):
        write_noise(f"noise/{number}.wav", 1.0, seed=number)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")

    def draws():
        rng = np.random.default_rng(0)
        if draw == "file":
            return [folder.draw_file(rng) for _ in range(40)]
        return [folder.draw_stretch(16000, rng) for _ in range(40)]

    before = draws()
    lost = before[0]
    os.remove(folder.paths[int(np.random.default_rng(0).integers(9))])
    after = draws()
    assert not torch.equal(after[0], lost)
    assert any(torch.equal(after[0], stretch) for stretch in before)
    assert all(torch.equal(a, b) for a, b in zip(after, draws(), strict=True))
    assert folder.failures.count(epoch=1) == 1
    assert caplog.text.count("there is no such file") == 1


def test_a_folder_that_vanishes_is_an_error_that_names_the_key(
    tmp_path, write_noise
):
    for number in range(3):
        write_noise(f"noise/{number}.wav", 1.0, seed=number)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    for path in folder.paths:
        os.remove(path)
    with pytest.raises(AudioError, match="change noise_folder"):
        folder.draw_file(np.random.default_rng(0))


def test_other_formats_are_drawn_or_counted_as_left_out(
    tmp_path, write_noise, caplog
):
    for name in ("a.wav", "b.mp3", "c.flac"):
        write_noise(name, 1.0)
    for name in ("c.m4a", "d.wma", "e.aac"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "f.wav")
    folder = AudioFolder(tmp_path, "noise_folder")
    names = [os.path.basename(path) for path in folder.paths]
    assert names == ["a.wav", "b.mp3", "c.flac"]
    assert "Left out 2 files" in caplog.text and "d.wma" in caplog.text
    assert "Left out 1 of 4 files" in caplog.text


def test_two_links_up_give_every_file_once(tmp_path, write_noise):
    write_noise("noise/deep/a.wav", 1.0)
    for folder in ("noise", "noise/deep"):
        for name in ("up", "again"):
            (tmp_path / folder / name).symlink_to(tmp_path / "noise")
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    assert folder.paths == [str(tmp_path / "noise" / "deep" / "a.wav")]
