"""Claims about the layouts that noise and impulse responses come in."""

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio.augmentation import Augmentation
from ssps_plugin.dataio.augmentation_folders import (
    find_noise_folders,
    find_rir_folder,
)

CATEGORIES = ["noise", "speech", "music"]


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
