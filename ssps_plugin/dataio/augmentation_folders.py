"""How corpora of noise and of rooms are laid out, and which folder is meant."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from ssps_plugin.dataio.audio_folder import AudioFolder
from ssps_plugin.dataio.speaker_folders import (
    MUSAN,
    RIRS_NOISES,
    SIMULATED_RIRS,
    folders_in,
)

Path = str | os.PathLike[str]

# What is in them, in lower case.
_MUSANS_FOLDERS = {"noise", "speech", "music"}
_SIMULATED_ROOMS = {"smallroom", "mediumroom", "largeroom"}
_REAL_RIRS = "real_rirs_isotropic_noises"
_POINT_SOURCES = "pointsource_noises"
_LONGEST_MEDIAN_SECONDS = 5.0


def find_noise_folders(
    noise_folder: Path, categories: Sequence[str]
) -> dict[str, str]:
    """Find the folder of each category of noise.

    MUSAN itself, a folder that holds `musan`, or any folder of noise, all of
    which is then of the category `noise`.

    Arguments
    ---------
    noise_folder : str or os.PathLike
        What was given. Whether it is there is not checked.
    categories : sequence of str
        The categories of MUSAN's that are wanted, at least one.

    Returns
    -------
    dict of str to str
        The folder of each category that is there.

    Raises
    ------
    ValueError
        It is OpenSLR-28's folder of room impulse responses.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "musan" / "music").mkdir(parents=True)
    >>> [*find_noise_folders(folder, ["noise", "speech", "music"])]
    ['music']
    """
    folder = os.fspath(noise_folder)
    paths = {name: os.path.join(folder, name) for name in categories}
    found = {name: path for name, path in paths.items() if os.path.isdir(path)}
    if found:
        return found
    inner = _inner_folders(folder)
    if MUSAN in inner:
        return find_noise_folders(inner[MUSAN], categories)
    if _is_of_rirs(folder, inner) and os.path.isdir(folder):
        raise ValueError(
            "Expected MUSAN or another folder of noise, got room impulse "
            f"responses in {folder}: change noise_folder, and give them as "
            "rir_folder"
        )
    category = "noise" if "noise" in categories else categories[0]
    return {category: folder}


def describe_noise(
    noise_folder: Path, folders: Mapping[str, str], categories: Sequence[str]
) -> str:
    """Say where noise comes from, once `find_noise_folders` has found it.

    Example
    -------
    >>> folders = {"noise": "data/musan/noise"}
    >>> describe_noise("data", folders, ["noise", "music"])
    'Noise comes from data/musan: noise; there is no music.'
    """
    category, folder = next(iter(folders.items()))
    if folder == os.fspath(noise_folder):
        return (
            f"Noise comes from {folder}, which is not laid out like MUSAN "
            "(noise, speech, music): all of it is of the category "
            f"{category}."
        )
    missing = [name for name in categories if name not in folders]
    lacks = f"; there is no {' and no '.join(missing)}" if missing else ""
    found = ", ".join(folders)
    return f"Noise comes from {os.path.dirname(folder)}: {found}{lacks}."


def find_rir_folder(rir_folder: Path) -> str:
    """Find the folder of room impulse responses.

    Of OpenSLR-28 (`RIRS_NOISES`, or a folder that holds it) the simulated ones
    are taken, as published; any other folder is taken as it is.

    Arguments
    ---------
    rir_folder : str or os.PathLike
        What was given. Whether it is there is not checked.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        It is MUSAN, or OpenSLR-28 without the simulated ones, or its noises.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("simulated_rirs", "pointsource_noises"):
    ...     (folder / "RIRS_NOISES" / name).mkdir(parents=True)
    >>> os.path.relpath(find_rir_folder(folder), folder)
    'RIRS_NOISES/simulated_rirs'
    """
    folder = os.fspath(rir_folder)
    inner = _inner_folders(folder)
    for name in (RIRS_NOISES, SIMULATED_RIRS):
        if name in inner:
            return find_rir_folder(inner[name])
    noises = _noises_in(folder, inner)
    if noises and os.path.isdir(folder):
        raise ValueError(
            "Expected room impulse responses (RIRS_NOISES, simulated_rirs or "
            f"another folder of them), got {noises} in {folder}: change "
            "rir_folder"
        )
    return folder


def check_impulse_responses(rirs: AudioFolder, rir_folder: Path) -> None:
    """Raise a ValueError where files are too long to be impulse responses."""
    median = float(np.median(rirs.seconds))
    if median > _LONGEST_MEDIAN_SECONDS:
        raise ValueError(
            "Expected room impulse responses, half of them no longer than "
            f"{_LONGEST_MEDIAN_SECONDS:g} s, got files of {median:.1f} s "
            f"(median) below {rir_folder}: change rir_folder, or give them as "
            "noise_folder if they are noise"
        )


def _is_of_rirs(folder: str, inner: Mapping[str, str]) -> bool:
    parts = {RIRS_NOISES, SIMULATED_RIRS, _REAL_RIRS}
    is_simulated = set(inner) >= _SIMULATED_ROOMS
    return is_simulated or bool(parts & {*inner, _name(folder)})


def _noises_in(folder: str, inner: Mapping[str, str]) -> str:
    """What a folder holds that is no impulse response; empty if unknown."""
    if {MUSAN} & {*inner, _name(folder)}:
        return "MUSAN"
    if len(_MUSANS_FOLDERS & set(inner)) > 1:
        return "MUSAN's noise, speech and music"
    if _POINT_SOURCES in {*inner, _name(folder)}:
        return "OpenSLR-28's point-source noises"
    if _REAL_RIRS in inner:
        return f"OpenSLR-28's {_REAL_RIRS} without {SIMULATED_RIRS}"
    return ""


def _name(folder: str) -> str:
    return os.path.basename(os.path.abspath(folder)).lower()


def _inner_folders(folder: str) -> dict[str, str]:
    """Paths of the folders in a folder by their names in lower case."""
    if not os.path.isdir(folder):
        return {}
    names = folders_in(folder)
    return {name.lower(): os.path.join(folder, name) for name in names}
