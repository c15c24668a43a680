"""Clean, real speech to lay recordings over."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation.corpus_files import SAMPLE_RATE

_SUFFIXES = {".wav", ".flac", ".ogg"}
_SILENCE = 1e-4  # root mean square, below the noise of 16-bit recordings


def find_speech(folder: Path) -> dict[str, list[Path]]:
    """Find the utterances of each speaker.

    Arguments
    ---------
    folder : Path
        Holds a folder for each speaker.

    Returns
    -------
    dict
        From a speaker's name to the sorted files below its folder.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    speech: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/**/*")):
        if path.suffix.lower() in _SUFFIXES:
            speaker = path.relative_to(folder).parts[0]
            speech.setdefault(speaker, []).append(path)
    if not speech:
        raise FileNotFoundError(
            f"No speech found in {folder}: expected <speaker>/<utterance>.wav, "
            ".flac or .ogg."
        )
    return speech


def read_speech(path: Path) -> NDArray[np.float64]:
    """Read an utterance as 16 kHz mono.

    Arguments
    ---------
    path : Path
        An audio file at any rate, with any number of channels.

    Returns
    -------
    ndarray, shape (samples,)
        The waveform.

    Raises
    ------
    ValueError
        If the file is empty or silent.
    """
    channels, rate = soundfile.read(path, dtype="float64", always_2d=True)
    waveform = channels.mean(axis=1)
    if not len(waveform) or np.sqrt(np.mean(waveform**2)) < _SILENCE:
        raise ValueError(
            f"{path} is empty or silent: no signal-to-noise ratio can be set. "
            "Remove it from the clean speech."
        )
    if rate == SAMPLE_RATE:
        return waveform
    return resample_poly(waveform, SAMPLE_RATE, rate)


def speech_fingerprint(folder: Path, speech: dict[str, list[Path]]) -> str:
    """Digest names and sizes of the files, to notice when they change.

    Arguments
    ---------
    folder : Path
        Where the names start.
    speech : dict
        As from `find_speech`.

    Returns
    -------
    str
        In hexadecimal.
    """
    digest = hashlib.sha256()
    for utterances in speech.values():
        for path in utterances:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()
