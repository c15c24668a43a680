"""Read and check audio files."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import ceil

import numpy as np
import soundfile
import torch
from speechbrain.utils.logger import get_logger
from torchaudio.transforms import Resample

logger = get_logger(__name__)

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "EmptyAudioError",
    "TruncatedAudioError",
    "audio_seconds",
    "read_audio",
    "tile",
]


SAMPLE_RATE = 16000

# A manifest's duration may be rounded; below this nobody is told.
_DURATION_TOLERANCE_SECONDS = 0.1
_BLOCK_FRAMES = 4096
# Samples of other subtypes are always finite.
_FLOATING_POINT = {"FLOAT", "DOUBLE"}
_warned_paths: set[str] = set()

# libsndfile shortens a WAV to what the file holds and tells so in its log.
_DATA_CHUNK = re.compile(r"data : (\d+) \(should be (\d+)\)")
# A WAV that was written to a pipe promises this much and means "unknown".
_UNKNOWN_LENGTH_BYTES = 0x7FFFF000


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


def read_audio(
    path: str | os.PathLike[str],
    start_seconds: float = 0.0,
    seconds: float | None = None,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
) -> torch.Tensor:
    """Read a stretch of a file, mixed down and resampled.

    Only the stretch is decoded. A file that ends before the stretch does (it
    is short, truncated, or shorter than its manifest says) gives what it
    has: the stretch is moved back into it and, where that is not enough,
    repeated. Except for short files a warning tells so, once a file. Samples
    that are not finite are taken as 0, with a warning likewise.

    Arguments
    ---------
    path : str or os.PathLike
        WAV, FLAC, OGG or whatever else libsndfile reads.
    start_seconds : float
        Where the stretch starts, in seconds.
    seconds : float, optional
        Length of the stretch in seconds; None reads to the end of the file.
    sample_rate : int
        The rate in Hz of what is returned.
    channel : int, optional
        The channel to take, from 0; None takes the mean of all.

    Returns
    -------
    torch.Tensor
        float32, (samples,): exactly `round(seconds * sample_rate)` samples
        where `seconds` is given.

    Raises
    ------
    AudioError
        The file cannot be opened or decoded, or holds no sample.

    Example
    -------
    >>> path = getfixture("tmp_path") / "half_second.wav"
    >>> soundfile.write(path, np.zeros((4000, 2)), 8000)
    >>> read_audio(path).shape
    torch.Size([8000])
    >>> read_audio(path, start_seconds=0.25, seconds=1.0).shape
    torch.Size([16000])
    """
    path = os.fspath(path)
    with open_audio(path) as file:
        rate = file.samplerate
        first, count = _place_stretch(file, start_seconds, seconds)
        frames = _read_frames(file, first, count)
        if file.subtype in _FLOATING_POINT and not np.isfinite(frames).all():
            _warn_of_not_finite(path)
            frames = np.nan_to_num(frames, nan=0.0, posinf=0.0, neginf=0.0)
    samples = torch.from_numpy(_to_mono(frames, channel))
    if rate != sample_rate:
        samples = _resampler(rate, sample_rate)(samples)
    if seconds is not None:
        samples = tile(samples, round(seconds * sample_rate))
    return samples


def tile(samples: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Cut or repeat a waveform to a length (wrap padding).

    Arguments
    ---------
    samples : torch.Tensor
        (samples,), at least one.
    num_samples : int
        The length wanted.

    Returns
    -------
    torch.Tensor
        (num_samples,), a view of `samples` where they are enough.

    Example
    -------
    >>> tile(torch.tensor([1, 2, 3]), 7)
    tensor([1, 2, 3, 1, 2, 3, 1])
    """
    if len(samples) < num_samples:
        samples = samples.repeat(ceil(num_samples / len(samples)))
    return samples[:num_samples]


def _place_stretch(
    file: soundfile.SoundFile, start_seconds: float, seconds: float | None
) -> tuple[int, int]:
    """Return the first frame and the number of frames to read."""
    rate = file.samplerate
    # Seconds made from samples come back a hair below or above a whole
    # number: where a crop starts must not depend on which.
    first = round(start_seconds * rate)
    if seconds is None:
        first = min(first, file.frames - 1)
        return first, file.frames - first
    count = min(max(ceil(round(seconds * rate, 3)), 1), file.frames)
    last_start = file.frames - count
    if first - last_start > _DURATION_TOLERANCE_SECONDS * rate:
        _warn_once(file.name, f"{first + count} frames", str(file.frames))
    return min(first, last_start), count


def _read_frames(
    file: soundfile.SoundFile, first: int, count: int
) -> np.ndarray:
    """Read `count` frames, or the last ones that can be decoded."""
    try:
        file.seek(first)
        frames = file.read(count, dtype="float32")
    except soundfile.SoundFileError:
        frames = np.empty(0, dtype=np.float32)
    if len(frames) == count:
        return frames
    try:
        frames = _decodable_frames(file.name)
    except TruncatedAudioError:
        if not _last_sample_decodes(file.name):
            raise
        # Damaged where the stretch begins, sound further on: no reason to
        # stop a training run.
        frames = np.zeros((first + count, file.channels), dtype=np.float32)
        frames = frames.squeeze(1) if file.channels == 1 else frames
    _warn_once(file.name, f"{file.frames} frames", str(len(frames)))
    return frames[max(0, min(first, len(frames) - count)) :][:count]


def _last_sample_decodes(path: str) -> bool:
    with open_audio(path) as file:
        try:
            file.seek(file.frames - 1)
            return len(file.read(1)) == 1
        except soundfile.SoundFileError:
            return False


def _decodable_frames(path: str) -> np.ndarray:
    """Decode from the start until the decoder gives up."""
    blocks = []
    # A decoder that failed keeps its error: start afresh.
    with open_audio(path) as file:
        try:
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32")):
                blocks.append(block)
        except soundfile.SoundFileError:
            pass
    if not blocks:
        raise TruncatedAudioError(
            f"{path} is truncated: a valid header and no sample that decodes"
        )
    return np.concatenate(blocks)


def _to_mono(frames: np.ndarray, channel: int | None) -> np.ndarray:
    if frames.ndim == 1:
        return frames
    return frames.mean(axis=1) if channel is None else frames[:, channel].copy()


def _warn_once(path: str, expected: str, held: str) -> None:
    if path in _warned_paths:
        return
    _warned_paths.add(path)
    logger.warning(
        "%s holds less than was promised: expected %s, got %s. What is there "
        "is used instead; prepare the manifest again to leave the file out.",
        path,
        expected,
        held,
    )


def _warn_of_not_finite(path: str) -> None:
    if path in _warned_paths:
        return
    _warned_paths.add(path)
    logger.warning(
        "%s holds samples that are not finite: they are taken as 0. Repair the "
        "file, or leave it out.",
        path,
    )


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    """Build a resampler once a pair of rates: its kernel is costly."""
    return Resample(from_rate, to_rate)


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
    ssps_plugin.dataio.audio.TruncatedAudioError: ...
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
