"""The files of a simulated corpus, in VoxCeleb's layout."""

import string
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE = 16000  # Hz

# A corpus' seed is split into streams of random numbers; 0 draws the voices
RECORDING_STREAM, TRIAL_STREAM = 1, 2

_NAME_LENGTH = 11  # of VoxCeleb's recordings, which are YouTube's ids
_NAME_CHARACTERS = string.ascii_letters + string.digits


def draw_recording_name(rng: Generator) -> str:
    """Draw a name such as VoxCeleb's recordings have.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    str
        11 letters and digits.
    """
    indices = rng.integers(len(_NAME_CHARACTERS), size=_NAME_LENGTH)
    return "".join(_NAME_CHARACTERS[index] for index in indices)


def list_utterances(wav_folder: Path, speakers: Iterable[str]) -> list[str]:
    """List ``speaker/recording/utterance.wav`` of some speakers, sorted.

    Arguments
    ---------
    wav_folder : Path
        The corpus' ``wav``.
    speakers : iterable of str
        Names of the speakers.

    Returns
    -------
    list of str
        Paths below ``wav_folder``, with forward slashes on every system.
    """
    return sorted(
        path.relative_to(wav_folder).as_posix()
        for speaker in speakers
        for path in (wav_folder / speaker).glob("*/*.wav")
    )


def write_wav(path: Path, waveform: NDArray[np.float64]) -> None:
    """Write a 16 kHz mono waveform as 16-bit PCM, making its folder.

    Arguments
    ---------
    path : Path
        The file.
    waveform : ndarray, shape (samples,)
        Within [-1, 1].
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")


def write_speakers(
    path: Path, genders: Mapping[str, str], trial_speakers: set[str]
) -> None:
    """Write who speaks: a CSV of speaker, gender and split.

    Arguments
    ---------
    path : Path
        The file.
    genders : mapping of str to str
        Gender of each speaker; empty where unknown.
    trial_speakers : set of str
        Those of the split ``trial``; the others are ``train``.
    """
    lines = ["speaker,gender,split\n"]
    for speaker, gender in genders.items():
        split = "trial" if speaker in trial_speakers else "train"
        lines.append(f"{speaker},{gender},{split}\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
