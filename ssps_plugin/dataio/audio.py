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

SAMPLE_RATE = 16000

# A manifest's duration may be rounded: no warning below this.
_DURATION_TOLERANCE_SECONDS = 0.1
_BLOCK_FRAMES = 4096
# Samples of other subtypes are always finite.
_FLOATING_POINT = {"FLOAT", "DOUBLE"}
# libsndfile shortens a WAV to what the file holds, and says so in its log.
_DATA_CHUNK = re.compile(r"data : (\d+) \(should be (\d+)\)")
# A WAV that was written to a pipe promises this much, which means "unknown".
_UNKNOWN_LENGTH_BYTES = 0x7FFFF000
# Likewise the number of samples of a stream without a length.
_UNKNOWN_LENGTH_FRAMES = 2**40
# A file that is read in every epoch is worth one warning.
_warned_paths: set[str] = set()


class AudioError(RuntimeError):
    """A file that cannot be read as audio; the message says which and why.

    It takes the message only, so that a DataLoader's worker can raise it
    unchanged in the main process.
    """

    reason = "unreadable"


class EmptyAudioError(AudioError):
    """A file with a valid header and not one sample."""

    reason = "empty"


class TruncatedAudioError(AudioError):
    """A file that holds less than its header promises."""

    reason = "truncated"


def audio_seconds(path: str | os.PathLike[str]) -> float:
    """Return a file's length in seconds, from its header.

    Arguments
    ---------
    path : str or os.PathLike
        The audio file.

    Returns
    -------
    float
        Seconds. `check_audio` checks whether the file holds them.

    Raises
    ------
    AudioError
        The file cannot be opened, holds no sample, or is a stream whose
        header gives no length.

    Example
    -------
    >>> path = getfixture("tmp_path") / "half_second.wav"
    >>> soundfile.write(path, [0.0] * 4000, 8000)
    >>> audio_seconds(path)
    0.5
    """
    with _open_audio(os.fspath(path)) as file:
        return file.frames / file.samplerate


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
    with _open_audio(path) as file:
        shortened = _DATA_CHUNK.search(file.extra_info)
        if shortened is not None:
            promised, held = map(int, shortened.groups())
            if held < promised < _UNKNOWN_LENGTH_BYTES:
                raise TruncatedAudioError(
                    f"{path} is truncated: its header promises {promised} "
                    f"bytes of samples, the file holds {held}"
                )
        try:
            is_whole = _can_decode_last_sample(file)
        except OSError as error:
            raise AudioError(f"Cannot read audio from {path}") from error
        if not is_whole:
            raise TruncatedAudioError(
                f"{path} is truncated: its header promises {file.frames} "
                "samples, the last one cannot be decoded"
            )
        return file.frames / file.samplerate


def read_audio(
    path: str | os.PathLike[str],
    start_seconds: float = 0.0,
    seconds: float | None = None,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
) -> torch.Tensor:
    """Read a stretch of a file, mixed down to mono and resampled.

    Only the stretch is decoded. A file that ends before the stretch does (it
    is short, truncated, or shorter than its manifest says) gives what it
    has: the stretch is moved back into it and, where that is not enough,
    repeated. Except for short files this is a warning, once for each file.
    Samples that are not finite become 0, with a warning likewise.

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
        float32, `(samples,)`: exactly `round(seconds * sample_rate)` samples
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
    with _open_audio(path) as file:
        rate = file.samplerate
        first, count = _place_stretch(file, start_seconds, seconds)
        frames = _read_frames(file, first, count)
        if file.subtype in _FLOATING_POINT and not np.isfinite(frames).all():
            _warn_once(
                path,
                "%s holds samples that are not finite: they are taken as 0. "
                "Repair the file, or leave it out.",
            )
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
        `(samples,)`, at least one.
    num_samples : int
        The length to return.

    Returns
    -------
    torch.Tensor
        `(num_samples,)`, a view of `samples` where they are enough.

    Example
    -------
    >>> tile(torch.tensor([1, 2, 3]), 7)
    tensor([1, 2, 3, 1, 2, 3, 1])
    """
    if len(samples) < num_samples:
        samples = samples.repeat(ceil(num_samples / len(samples)))
    return samples[:num_samples]


@contextmanager
def _open_audio(path: str) -> Iterator[soundfile.SoundFile]:
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
        if file.frames >= _UNKNOWN_LENGTH_FRAMES:
            raise AudioError(
                f"{path} does not say how long it is: re-encode it"
            )
        yield file


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
        _warn_of_missing_frames(file.name, first + count, file.frames)
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
    # A decoder that failed keeps its error: start afresh.
    with _open_audio(file.name) as fresh:
        frames = _decode_from_the_start(fresh)
    if not len(frames):
        with _open_audio(file.name) as fresh:
            if not _can_decode_last_sample(fresh):
                raise TruncatedAudioError(
                    f"{file.name} is truncated: a valid header and no sample "
                    "that decodes"
                )
        # Damaged where the stretch begins, sound further on: no reason to
        # stop a training run.
        frames = np.zeros((first + count, file.channels), dtype=np.float32)
        frames = frames.squeeze(1) if file.channels == 1 else frames
    _warn_of_missing_frames(file.name, file.frames, len(frames))
    return frames[max(0, min(first, len(frames) - count)) :][:count]


def _decode_from_the_start(file: soundfile.SoundFile) -> np.ndarray:
    """Decode frames until the decoder gives up."""
    blocks = []
    try:
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32")):
            blocks.append(block)
    except soundfile.SoundFileError:
        pass
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)


def _can_decode_last_sample(file: soundfile.SoundFile) -> bool:
    try:
        file.seek(file.frames - 1)
        return len(file.read(1)) == 1
    except soundfile.SoundFileError:
        return False


def _to_mono(frames: np.ndarray, channel: int | None) -> np.ndarray:
    if frames.ndim == 1:
        return frames
    return frames.mean(axis=1) if channel is None else frames[:, channel].copy()


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    """Build a resampler once for each pair of rates: its kernel is costly."""
    return Resample(from_rate, to_rate)


def _warn_of_missing_frames(path: str, expected: int, held: int) -> None:
    _warn_once(
        path,
        "%s holds less than was promised: expected %d frames, got %d. What is "
        "there is used instead; prepare the manifest again to leave the file "
        "out.",
        expected,
        held,
    )


def _warn_once(path: str, message: str, *values: int) -> None:
    if path not in _warned_paths:
        _warned_paths.add(path)
        logger.warning(message, path, *values)
