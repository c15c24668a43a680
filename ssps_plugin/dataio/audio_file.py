"""An audio file, opened: its header and what can be wrong with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import soundfile


class AudioError(RuntimeError):
    """A file is no audio that can be read; its message says which and why.

    It takes the message only: so it crosses from a DataLoader's worker to
    the main process unchanged.
    """

    reason = "unreadable"


class EmptyAudioError(AudioError):
    """A file with a valid header and not one sample."""

    reason = "empty"


class TruncatedAudioError(AudioError):
    """A file that holds less than its header promises."""

    reason = "truncated"


@contextmanager
def open_audio(path: str) -> Iterator[soundfile.SoundFile]:
    """Open a file for reading, with this module's errors."""
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        exists = os.path.exists(path)
        reason = str(error) if exists else "there is no such file"
        raise AudioError(f"Cannot read audio from {path}: {reason}") from error
    with file:
        if file.frames <= 0:
            raise EmptyAudioError(f"{path} holds no audio: 0 samples")
        if file.frames >= 2**40:
            raise AudioError(
                f"{path} does not say how long it is: re-encode it"
            )
        yield file


def audio_seconds(path: str | os.PathLike[str]) -> float:
    """Return a file's length in seconds, from its header.

    Arguments
    ---------
    path : str or os.PathLike
        The audio file.

    Returns
    -------
    float
        Seconds. `check_audio` tells whether it holds them.

    Raises
    ------
    AudioError
        The file cannot be opened, holds no sample, or is a stream that does
        not say how long it is.

    Example
    -------
    >>> path = getfixture("tmp_path") / "half_second.wav"
    >>> soundfile.write(path, [0.0] * 4000, 8000)
    >>> audio_seconds(path)
    0.5
    """
    with open_audio(os.fspath(path)) as file:
        return file.frames / file.samplerate
