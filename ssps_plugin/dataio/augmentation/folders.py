"""Find and read folders of noise and of room impulse responses."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from speechbrain.utils.distributed import get_local_rank, if_main_process
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import (
    SAMPLE_RATE,
    AudioError,
    check_audio,
    read_audio,
)
from ssps_plugin.dataio.corpus.folders import (
    AUDIO_SUFFIXES,
    MUSAN,
    RIRS_NOISES,
    SIMULATED_RIRS,
    conversion_command,
    is_compressed,
    list_folders,
    select_audio,
    walk_folders,
)
from ssps_plugin.dataio.corpus.header_cache import HeaderCache
from ssps_plugin.dataio.read_failures import ReadFailures
from ssps_plugin.progress import progress_bar

logger = get_logger(__name__)

Path = str | os.PathLike[str]

#: What is given as `noise_folder` and as `rir_folder` to have them made.
SYNTHETIC_NOISE, SIMULATED_ROOMS = "synthetic", "simulated"
_WITHOUT_DOWNLOAD = {
    "noise_folder": f"; {SYNTHETIC_NOISE} has noise made, without a download",
    "rir_folder": f"; {SIMULATED_ROOMS} has rooms made, without a download",
}

# What MUSAN and OpenSLR-28 hold, in lower case.
_MUSANS_FOLDERS = {"noise", "speech", "music"}
_SIMULATED_ROOMS = {"smallroom", "mediumroom", "largeroom"}
_REAL_RIRS = "real_rirs_isotropic_noises"
_POINT_SOURCES = "pointsource_noises"
# Longer files are noise: a room's impulse response is over in a few seconds.
_LONGEST_MEDIAN_SECONDS = 5.0
# Opening files waits for the file system, which often is a network's.
_NUM_THREADS = 16
# Files that are tried one after the other in place of a lost one.
_MOST_REPLACEMENTS = 20
# The fraction that may be lost while training: any of them replaces another.
_MAX_LOST = 0.1


class AudioFolder:
    """The audio files at any depth below a folder, and their lengths.

    The folder is scanned once. Files that cannot be read whole are left out
    with a warning. Lengths are kept in a `HeaderCache`, for the next start. A
    file that cannot be read any more later on is named and counted in
    `failures`, and another one is drawn.

    Arguments
    ---------
    folder : str or os.PathLike
        The folder.
    yaml_key : str
        The key that errors name.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no audio.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 16000, 16000)
    >>> rng = np.random.default_rng(0)
    >>> AudioFolder(folder, "noise_folder").draw_stretch(100, rng).shape
    torch.Size([100])
    """

    def __init__(self, folder: Path, yaml_key: str) -> None:
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"Expected a folder of audio, got none at {folder}: change "
                f"{yaml_key}{_WITHOUT_DOWNLOAD.get(yaml_key, '')}"
            )
        listed = [
            os.path.join(folder, f"{inner}{name}")
            for inner, names in walk_folders(folder)
            for name in select_audio(names)
        ]
        paths = sorted(path for path in listed if not is_compressed(path))
        if len(paths) < len(listed):
            logger.warning(
                "Left out %d files below %s of formats that cannot be read, "
                "such as %s: convert them, %s",
                len(listed) - len(paths),
                folder,
                next(filter(is_compressed, listed)),
                conversion_command(os.fspath(folder)),
            )
        seconds = _read_lengths(paths, folder, yaml_key)
        usable = [(p, s) for p, s in zip(paths, seconds, strict=True) if s > 0]
        if len(usable) < len(paths):
            logger.warning(
                "Left out %d of %d files below %s: they cannot be read whole",
                len(paths) - len(usable),
                len(paths),
                folder,
            )
        if not usable:
            raise ValueError(
                f"Expected audio ({', '.join(AUDIO_SUFFIXES)}) below {folder}, "
                f"got {len(paths)} such files and none to read: change "
                f"{yaml_key}"
            )
        self.paths = [path for path, _ in usable]
        self.seconds = np.array([length for _, length in usable])
        self.yaml_key = yaml_key
        self.failures = ReadFailures(
            self.paths, _MAX_LOST, f"files of {yaml_key}"
        )

    def __len__(self) -> int:
        return len(self.paths)

    def draw_stretch(
        self,
        num_samples: int,
        rng: np.random.Generator,
        sample_rate: int = SAMPLE_RATE,
    ) -> torch.Tensor:
        """Read a stretch at a random place of a random file.

        Arguments
        ---------
        num_samples : int
            Its length; a shorter file is repeated.
        rng : numpy.random.Generator
            Draws the file and the place.
        sample_rate : int
            Samples per second of the stretch.

        Returns
        -------
        torch.Tensor
            float32, `(num_samples,)`.
        """
        seconds = num_samples / sample_rate

        def read(index: int) -> torch.Tensor:
            start = rng.random() * max(self.seconds[index] - seconds, 0.0)
            path = self.paths[index]
            return read_audio(path, start, seconds, sample_rate=sample_rate)

        return self._read_any(rng, read)

    def draw_file(
        self, rng: np.random.Generator, sample_rate: int = SAMPLE_RATE
    ) -> torch.Tensor:
        """Read a random file's first channel, whole.

        Arguments
        ---------
        rng : numpy.random.Generator
            Draws the file.
        sample_rate : int
            Samples per second of what is returned.

        Returns
        -------
        torch.Tensor
            float32, `(samples,)`.
        """

        def read(index: int) -> torch.Tensor:
            path = self.paths[index]
            return read_audio(path, sample_rate=sample_rate, channel=0)

        return self._read_any(rng, read)

    def draw_number(self, rng: np.random.Generator) -> int:
        """Draw a file's place in `paths` as `draw_file` does, and read nothing.

        Arguments
        ---------
        rng : numpy.random.Generator
            Draws the file.

        Returns
        -------
        int
            A file that was not lost, as far as is known.

        Raises
        ------
        AudioError
            Many draws in a row are of lost files.
        """
        for _ in range(_MOST_REPLACEMENTS):
            index = int(rng.integers(len(self.paths)))
            if not self.failures.was_lost(index):
                return index
        raise AudioError(
            f"Expected a file of {self.yaml_key} that is not lost, got "
            f"{_MOST_REPLACEMENTS} draws of lost ones: change {self.yaml_key}"
        )

    def read_all(
        self, function: Callable[[torch.Tensor], Any], sample_rate: int
    ) -> list[Any]:
        """Read the first channel of every file, and apply a function to it.

        Arguments
        ---------
        function : callable
            Of a waveform, float32, `(samples,)`; threads call it.
        sample_rate : int
            Samples per second of the waveforms.

        Returns
        -------
        list
            What it returned for each of `paths`; None for a file that cannot
            be read, which is named and counted in `failures`.

        Raises
        ------
        TooManyUnreadableError
            Many files cannot be read.
        """

        def read(path: str) -> Any:
            try:
                samples = read_audio(path, sample_rate=sample_rate, channel=0)
            except AudioError as error:
                return error
            return function(samples)

        with ThreadPoolExecutor(max_workers=_NUM_THREADS) as pool:
            results = list(
                progress_bar(
                    pool.map(read, self.paths),
                    self.yaml_key,
                    len(self.paths),
                    "file",
                    disable=not if_main_process(),
                )
            )
        for index, result in enumerate(results):
            if isinstance(result, AudioError):
                self.failures.record(index, 1, result)
                results[index] = None
        return results

    def _read_any(
        self,
        rng: np.random.Generator,
        read: Callable[[int], torch.Tensor],
    ) -> torch.Tensor:
        """Read a random file or, where it cannot be read, the next one drawn.

        Raises
        ------
        TooManyUnreadableError
            Many of the folder's files have been lost since it was scanned.
        AudioError
            None of several files can be read.
        """
        for _ in range(_MOST_REPLACEMENTS):
            index = int(rng.integers(len(self.paths)))
            try:
                return read(index)
            except AudioError as error:
                last_error = error
                # Those of all epochs together.
                self.failures.record(index, 1, error)
        raise AudioError(
            f"Expected audio in place of a file that is lost, got "
            f"{_MOST_REPLACEMENTS} draws of which none can be read, at last: "
            f"{last_error}: change {self.yaml_key}"
        )


def find_noise_folders(
    noise_folder: Path, categories: Sequence[str]
) -> dict[str, str]:
    """Find the folder of each category of noise.

    In MUSAN itself, or in a folder that holds `musan`. Any other folder of
    noise is of the category `noise`.

    Arguments
    ---------
    noise_folder : str or os.PathLike
        Where to look. It is not checked whether there is such a folder.
    categories : sequence of str
        The categories of MUSAN to find, at least one.

    Returns
    -------
    dict of str to str
        The folder of each category that was found.

    Raises
    ------
    ValueError
        The folder is OpenSLR-28's, of room impulse responses.

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
    if _holds_rirs(folder, inner) and os.path.isdir(folder):
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
    """Describe where noise comes from, for the log.

    Arguments
    ---------
    noise_folder, categories
        As for `find_noise_folders`.
    folders : mapping of str to str
        What it returned.

    Returns
    -------
    str
        A sentence.

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
        Where to look. It is not checked whether there is such a folder.

    Returns
    -------
    str
        The folder, whose responses may be further down.

    Raises
    ------
    ValueError
        The folder is MUSAN, OpenSLR-28 without the simulated responses, or
        its noises.

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
    noises = _find_noises(folder, inner)
    if noises and os.path.isdir(folder):
        raise ValueError(
            "Expected room impulse responses (RIRS_NOISES, simulated_rirs or "
            f"another folder of them), got {noises} in {folder}: change "
            "rir_folder"
        )
    return folder


def check_impulse_responses(rirs: AudioFolder, rir_folder: Path) -> None:
    """Raise a ValueError if files are too long to be impulse responses.

    Arguments
    ---------
    rirs : AudioFolder
        The files.
    rir_folder : str or os.PathLike
        Their folder, which the error names.

    Raises
    ------
    ValueError
        Half of them are longer than 5 seconds.
    """
    median = float(np.median(rirs.seconds))
    if median > _LONGEST_MEDIAN_SECONDS:
        raise ValueError(
            "Expected room impulse responses, half of them no longer than "
            f"{_LONGEST_MEDIAN_SECONDS:g} s, got files of {median:.1f} s "
            f"(median) below {rir_folder}: change rir_folder, or give them as "
            "noise_folder if they are noise"
        )


def _read_lengths(
    paths: Sequence[str], folder: Path, label: str
) -> list[float]:
    """Return the seconds of each file, 0 where it cannot be read whole."""
    headers = HeaderCache(folder)

    def seconds_or_zero(path: str) -> float:
        name = os.path.relpath(path, folder)
        try:
            # The cache is a text file with a line for each name.
            if not name.isprintable():
                return check_audio(path)
            return headers.read_seconds(name)
        except AudioError:
            return 0.0

    with ThreadPoolExecutor(max_workers=_NUM_THREADS) as pool:
        lengths = pool.map(seconds_or_zero, paths)
        quiet = not if_main_process()
        seconds = list(
            progress_bar(lengths, label, len(paths), "file", disable=quiet)
        )
    # The other processes of this machine read the same.
    if get_local_rank() in (None, 0):
        headers.save()
    return seconds


def _holds_rirs(folder: str, inner: Mapping[str, str]) -> bool:
    parts = {RIRS_NOISES, SIMULATED_RIRS, _REAL_RIRS}
    is_simulated = set(inner) >= _SIMULATED_ROOMS
    return is_simulated or bool(parts & {*inner, _lower_name(folder)})


def _find_noises(folder: str, inner: Mapping[str, str]) -> str:
    """Name the known corpus of noise that a folder is or holds, else empty."""
    if MUSAN in {*inner, _lower_name(folder)}:
        return "MUSAN"
    if len(_MUSANS_FOLDERS & set(inner)) > 1:
        return "MUSAN's noise, speech and music"
    if _POINT_SOURCES in {*inner, _lower_name(folder)}:
        return "OpenSLR-28's point-source noises"
    if _REAL_RIRS in inner:
        return f"OpenSLR-28's {_REAL_RIRS} without {SIMULATED_RIRS}"
    return ""


def _lower_name(folder: str) -> str:
    return os.path.basename(os.path.abspath(folder)).lower()


def _inner_folders(folder: str) -> dict[str, str]:
    """Return paths of the folders in a folder by their lower-case names."""
    if not os.path.isdir(folder):
        return {}
    names = list_folders(folder)
    return {name.lower(): os.path.join(folder, name) for name in names}
