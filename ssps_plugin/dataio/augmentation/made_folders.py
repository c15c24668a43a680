"""Folders of noise and impulse responses that are made, not downloaded."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import AudioError, audio_seconds, read_audio
from ssps_plugin.dataio.augmentation.folders import (
    SIMULATED_ROOMS,
    SYNTHETIC_NOISE,
)
from ssps_plugin.dataio.corpus.header_cache import (
    CACHE_VARIABLE,
    find_cache_folder,
)
from ssps_plugin.progress import progress_bar

logger = get_logger(__name__)

# Half a minute of one core, and 50 MB.
_NUM_NOISES, _NUM_BABBLES, _NUM_ROOMS = 64, 64, 600
_SECONDS = 10.0
_LEAST_VOICES, _MOST_VOICES = 3, 7
# How much louder or softer than the others a voice is, at most.
_VOICE_DB = 3.0
# Softer than this, beside utterances at a level of 1, nobody speaks.
_SILENCE = 1e-4
# Utterances of the corpus that babble is made of, at most.
_NUM_UTTERANCES = 1000
# Of what is written, so that 16 bits are made use of and nothing is clipped.
_PEAK = 0.9
# Whatever a run's seed is: runs share the folders.
_SEED = 1986
# To be raised when the same settings give other bytes.
_VERSION = 1
_DESCRIPTION_NAME = "made_of.json"
_UNFINISHED = ".unfinished"
_NOISE_STREAM, _BABBLE_STREAM, _ROOM_STREAM, _CHOICE_STREAM = range(4)

# Write the files of a folder.
_Write = Callable[[str], None]


def make_noise(
    files: Sequence[str | os.PathLike[str]], sample_rate: int
) -> str:
    """Make a folder of noise in the cache, unless it is there already.

    It is laid out like MUSAN: `noise` holds coloured noise, the swelling of a
    crowd and mains hum, mixed; `speech` holds babble, the sum of 3 to 7 voices,
    each of them utterances of the corpus one after the other. The same files
    give the same bytes. Who speaks in them is not asked.

    Arguments
    ---------
    files : sequence of str or os.PathLike
        The training utterances. Up to 1000 of them, drawn at random, are read.
    sample_rate : int
        Samples per second.

    Returns
    -------
    str
        The folder. Its name has a digest of the files' names, sizes and
        modification times: another corpus has another folder.

    Raises
    ------
    ValueError
        There is no place for it, or no utterance.
    AudioError
        None of the utterances can be read and is not silent.
    OSError
        It cannot be written.
    """
    if not len(files):
        raise ValueError(
            "Expected utterances to make babble of, got none: give the "
            f"training files, or change noise_folder (now {SYNTHETIC_NOISE})"
        )
    rng = np.random.default_rng([_SEED, _CHOICE_STREAM])
    chosen = rng.permutation(len(files))[:_NUM_UTTERANCES].tolist()
    utterances = [os.fspath(files[place]) for place in chosen]
    made_of = {
        "version": _VERSION,
        "seed": _SEED,
        "sample_rate": sample_rate,
        "numbers": [_NUM_NOISES, _NUM_BABBLES],
        "seconds": _SECONDS,
        "utterances": list(map(_describe_file, utterances)),
    }
    write = partial(_write_noise, utterances, sample_rate)
    return _make_once("noise", made_of, write)


def make_rooms(sample_rate: int) -> str:
    """Make a folder of impulse responses in the cache, unless it is there.

    Each of 600 files is one room with a microphone and somebody who speaks in
    it, simulated by image sources as for MiniVox: from a closet to a hall,
    RT60 between 0.1 and 0.7 s.

    Arguments
    ---------
    sample_rate : int
        Samples per second.

    Returns
    -------
    str
        The folder.

    Raises
    ------
    ValueError
        There is no place for it.
    RuntimeError
        It is not there, and pyroomacoustics is not installed.
    OSError
        It cannot be written.
    """
    check_can_make_rooms(sample_rate)
    write = partial(_write_rooms, sample_rate)
    return _make_once("rooms", _describe_rooms(sample_rate), write)


def check_can_make_rooms(sample_rate: int) -> None:
    """Raise if impulse responses are neither there nor can be simulated.

    Arguments
    ---------
    sample_rate : int
        Samples per second.

    Raises
    ------
    ValueError
        There is no place for them.
    RuntimeError
        pyroomacoustics is not installed; the message says how to install it.
    """
    # Imported where something is made: SciPy's filters take a fifth of a
    # second, in each process of a run.
    from ssps_plugin.simulation.runtime import import_extra

    made_of = _describe_rooms(sample_rate)
    if _is_complete(_folder_of("rooms", made_of), made_of):
        return
    try:
        import_extra("pyroomacoustics")
    except RuntimeError as error:
        raise RuntimeError(
            f"{error} Or change rir_folder (now {SIMULATED_ROOMS}) to a folder "
            "of impulse responses."
        ) from error


def check_cache(yaml_key: str) -> None:
    """Raise a ValueError if there is no folder to keep what is made in.

    Arguments
    ---------
    yaml_key : str
        The key that the error names.

    Raises
    ------
    ValueError
        The cache is switched off.
    """
    if not find_cache_folder():
        raise ValueError(
            f"Expected a folder to keep what {yaml_key} asks for, got an empty "
            f"{CACHE_VARIABLE} (or no home folder): set the environment "
            f"variable {CACHE_VARIABLE} to a folder, or change {yaml_key}"
        )


# -- what is made ----------------------------------------------------------


def _write_noise(
    utterances: Sequence[str], sample_rate: int, folder: str
) -> None:
    """Write noise, and babble of utterances."""
    from ssps_plugin.simulation.noise import draw_noise

    num_samples = round(_SECONDS * sample_rate)
    voices = _Voices(utterances, sample_rate)
    total = _NUM_NOISES + _NUM_BABBLES
    for number in progress_bar(range(total), "Noise", total, "file"):
        if number < _NUM_NOISES:
            rng = np.random.default_rng([_SEED, _NOISE_STREAM, number])
            samples = draw_noise(rng).sample(num_samples, sample_rate, rng)
            name = f"noise/{number:04d}.wav"
        else:
            number -= _NUM_NOISES
            rng = np.random.default_rng([_SEED, _BABBLE_STREAM, number])
            samples = voices.babble(num_samples, rng)
            name = f"speech/{number:04d}.wav"
        _write_wav(os.path.join(folder, name), samples, sample_rate)


def _write_rooms(sample_rate: int, folder: str) -> None:
    """Write impulse responses."""
    from ssps_plugin.simulation.rooms import draw_room

    numbers = range(_NUM_ROOMS)
    for number in progress_bar(numbers, "Rooms", _NUM_ROOMS, "room"):
        rng = np.random.default_rng([_SEED, _ROOM_STREAM, number])
        response = draw_room(rng).impulse_response(sample_rate)
        path = os.path.join(folder, f"{number:04d}.wav")
        _write_wav(path, response, sample_rate)


class _Voices:
    """Utterances, taken in turn, that voices of a babble are made of.

    One that cannot be read or is silent is passed over.
    """

    def __init__(self, utterances: Sequence[str], sample_rate: int) -> None:
        self.utterances = utterances
        self.sample_rate = sample_rate
        self._next = 0
        # Small corpora are gone through many times.
        self._read = lru_cache(maxsize=64)(self._read_utterance)

    def babble(
        self, num_samples: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the sum of some voices, each about as loud as the others."""
        samples = np.zeros(num_samples)
        for _ in range(int(rng.integers(_LEAST_VOICES, _MOST_VOICES + 1))):
            level_db = rng.uniform(-_VOICE_DB, _VOICE_DB)
            voice = self._speak(num_samples)
            level = np.sqrt(np.mean(voice**2))
            # An utterance may begin with silence, and be cut there.
            samples += 10 ** (level_db / 20) / max(level, _SILENCE) * voice
        return samples

    def _speak(self, num_samples: int) -> NDArray[np.float64]:
        """Return utterances one after the other."""
        parts: list[NDArray[np.float64]] = []
        num_missing, num_passed_over = num_samples, 0
        while num_missing > 0:
            path = self.utterances[self._next % len(self.utterances)]
            self._next += 1
            part = self._read(path)
            if part is None:
                num_passed_over += 1
                if num_passed_over > len(self.utterances):
                    raise AudioError(
                        "Expected speech to make babble of, got "
                        f"{len(self.utterances)} utterances of which none can "
                        f"be read and is not silent, such as {path}: change "
                        f"noise_folder (now {SYNTHETIC_NOISE}), or data_folder"
                    )
                continue
            num_passed_over = 0
            parts.append(part[:num_missing])
            num_missing -= len(part)
        return np.concatenate(parts)

    def _read_utterance(self, path: str) -> NDArray[np.float64] | None:
        """Read the start of an utterance at a level of 1, None if it cannot."""
        try:
            seconds = min(audio_seconds(path), _SECONDS)
            samples = read_audio(
                path, 0.0, seconds, sample_rate=self.sample_rate
            ).double()
        except AudioError:
            return None
        level = float(samples.square().mean().sqrt())
        return (samples / level).numpy() if level > 0 else None


def _write_wav(
    path: str, samples: NDArray[np.float64], sample_rate: int
) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    samples = samples * (_PEAK / np.abs(samples).max())
    soundfile.write(path, samples, sample_rate, subtype="PCM_16")


# -- where it is kept ------------------------------------------------------


def _describe_rooms(sample_rate: int) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "seed": _SEED,
        "sample_rate": sample_rate,
        "numbers": [_NUM_ROOMS],
    }


def _describe_file(path: str) -> list[Any]:
    """Return a file's path, links followed, its size and its change."""
    path = os.path.realpath(path)
    with suppress(OSError):
        status = os.stat(path)
        return [path, status.st_size, status.st_mtime_ns]
    return [path]


def _folder_of(name: str, made_of: Mapping[str, Any]) -> str:
    check_cache("noise_folder" if name == "noise" else "rir_folder")
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    return os.path.join(find_cache_folder(), "augmentation", f"{name}-{digest}")


def _make_once(name: str, made_of: Mapping[str, Any], write: _Write) -> str:
    """Make a folder, if no other process has or does.

    It appears whole or not at all, under a lock: of several processes that
    want it one makes it, while the others wait.
    """
    folder = _folder_of(name, made_of)
    if not _is_complete(folder, made_of):
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            with _lock(folder) as is_alone:
                if not _is_complete(folder, made_of):
                    if is_alone:
                        _remove_unfinished(folder)
                    _make(folder, made_of, write)
        except (OSError, soundfile.SoundFileError) as error:
            raise OSError(
                f"Expected to write {name} to {folder}, got: {error}. "
                "Make room or give rights, or set the environment variable "
                f"{CACHE_VARIABLE} to another folder"
            ) from error
    return folder


def _make(folder: str, made_of: Mapping[str, Any], write: _Write) -> None:
    start = time.monotonic()
    logger.info(
        "Making %s, once for these training files: up to a minute of one core",
        folder,
    )
    parent, name = os.path.split(folder)
    unfinished = tempfile.mkdtemp(_UNFINISHED, f"{name}.", parent)
    try:
        write(unfinished)
        sizes = _sizes_below(unfinished)
        description = {
            **made_of,
            "num_files": len(sizes),
            "num_bytes": sum(sizes),
        }
        path = os.path.join(unfinished, _DESCRIPTION_NAME)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(description, file, indent=1)
        os.chmod(unfinished, 0o755)  # temporary folders are their owner's
        if not _is_complete(folder, made_of):  # somebody deleted a file
            shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(unfinished, folder)
        except OSError:  # where there are no locks, another was faster
            if not _is_complete(folder, made_of):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info(
        "Made %s in %.0f s: %d files, %.0f MB",
        folder,
        time.monotonic() - start,
        len(sizes),
        sum(sizes) / 1e6,
    )


@contextmanager
def _lock(folder: str) -> Iterator[bool]:
    """Wait for other processes that make a folder, and keep them from it.

    The lock is the operating system's: it ends with the process. Where a file
    system has none, several may make the same.

    Yields
    ------
    bool
        Whether the lock is held.
    """
    descriptor = os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _wait_for(descriptor, folder)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, folder: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("Waiting for another process, which makes %s", folder)
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return True


def _remove_unfinished(folder: str) -> None:
    """Remove what processes left that were killed."""
    parent, name = os.path.split(folder)
    for other in os.listdir(parent):
        if other.startswith(f"{name}.") and other.endswith(_UNFINISHED):
            shutil.rmtree(os.path.join(parent, other), ignore_errors=True)


def _is_complete(folder: str, made_of: Mapping[str, Any]) -> bool:
    """Whether a folder has all of the files that were made, in full size."""
    try:
        path = os.path.join(folder, _DESCRIPTION_NAME)
        with open(path, encoding="utf-8") as file:
            description = dict(json.load(file))
        sizes = _sizes_below(folder)
    except (OSError, ValueError, TypeError):
        return False
    held = {"num_files": len(sizes), "num_bytes": sum(sizes)}
    return description.items() >= {**made_of, **held}.items()


def _sizes_below(folder: str) -> list[int]:
    """Return the size of each WAV file at any depth."""
    return [
        os.path.getsize(os.path.join(inner, name))
        for inner, _, names in os.walk(folder)
        for name in names
        if name.endswith(".wav")
    ]
