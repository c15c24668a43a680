"""The check of an audio file at preparation, without decoding all of it."""

import os
import re

import soundfile

from ssps_plugin.dataio.audio_file import (
    AudioError,
    TruncatedAudioError,
    open_audio,
)

# libsndfile shortens a WAV to what the file holds and tells so in its log.
_DATA_CHUNK = re.compile(r"data : (\d+) \(should be (\d+)\)")
# A WAV that was written to a pipe promises this much and means "unknown".
_UNKNOWN_LENGTH_BYTES = 0x7FFFF000


def check_audio(path: str | os.PathLike[str]) -> float:
    """Return a file's length, or raise if it is not what its header says.

    Opens the file, looks at the header and decodes the last sample: about
    0.1 ms for WAV and FLAC from a local disk, whatever their length.

    Arguments
    ---------
    path : str or os.PathLike
        The audio file.

    Returns
    -------
    float
        Its length in seconds.

    Raises
    ------
    AudioError
        It cannot be opened; the subclasses `EmptyAudioError` (no sample) and
        `TruncatedAudioError` (less than the header promises) say more.

    Example
    -------
    >>> import numpy as np
    >>> path = getfixture("tmp_path") / "second.flac"
    >>> soundfile.write(path, np.random.randn(16000), 16000)
    >>> check_audio(path)
    1.0
    >>> _ = path.write_bytes(path.read_bytes()[:9000])
    >>> check_audio(path)  # +ELLIPSIS
    Traceback (most recent call last):
    ...
    ssps_plugin.dataio.audio_file.TruncatedAudioError: ...
    """
    path = os.fspath(path)
    with open_audio(path) as file:
        shortened = _DATA_CHUNK.search(file.extra_info)
        if shortened is not None:
            promised, held = map(int, shortened.groups())
            if held < promised < _UNKNOWN_LENGTH_BYTES:
                raise TruncatedAudioError(
                    f"{path} is truncated: its header promises {promised} "
                    f"bytes of samples, the file holds {held}"
                )
        _decode_last_sample(file)
        return file.frames / file.samplerate


def _decode_last_sample(file: soundfile.SoundFile) -> None:
    try:
        file.seek(file.frames - 1)
        decoded = len(file.read(1))
    except soundfile.SoundFileError:
        decoded = 0
    except OSError as error:
        raise AudioError(f"Cannot read audio from {file.name}") from error
    if not decoded:
        raise TruncatedAudioError(
            f"{file.name} is truncated: its header promises {file.frames} "
            "samples, the last one cannot be decoded"
        )
