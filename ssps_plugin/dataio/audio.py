"""Read and check audio files."""

import io
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil

import numpy as np
import soundfile
import torch

from ssps_plugin.dataio.resampling import Stretch, resample
from ssps_plugin.dataio.safe_reading import check_regular_file, warn_if_slow
from ssps_plugin.dataio.wav_header import find_unpromised_samples

# Not SpeechBrain's, which is silent on all ranks but the first: each rank, and
# each of its workers, reads other files.
logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
#: No recording has samples beyond this. Floats between -1 and 1 are usual, but
#: a float file may be scaled as one of 16- or 32-bit integers.
LARGEST_SAMPLE = 2.0**31

# Seconds before each further attempt to read a file: a network file system
# that fails for a moment must not cost an utterance.
RETRY_WAITS = (0.1, 0.5)
# A manifest's duration may be rounded: no warning below this.
_DURATION_TOLERANCE_SECONDS = 0.1
# A header may promise so much more than there is: some writers round up.
_HEADER_TOLERANCE_SECONDS = 0.01
# Below this, no voice is left: the header is wrong, and a second of such
# samples would be read as minutes.
_LOWEST_SAMPLE_RATE = 1000
_BLOCK_FRAMES = 4096
# libsndfile shortens a WAV to what the file holds, and says so in its log.
_DATA_CHUNK = re.compile(r"data : (\d+) \(should be (\d+)\)")
# How libsndfile numbers a failure of the operating system, such as EIO.
_SYSTEM_ERROR = 2
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
    return _try_again(_read_seconds, os.fspath(path))


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
    return _try_again(_check_audio, os.fspath(path))


def read_audio(
    path: str | os.PathLike[str],
    start_seconds: float = 0.0,
    seconds: float | None = None,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: int | None = None,
    waits: Sequence[float] = RETRY_WAITS,
) -> torch.Tensor:
    """Read a stretch of a file, mixed down to mono and resampled.

    Only the stretch is decoded, except of codecs that cannot seek (GSM 06.10,
    G.721 …), which are decoded from the start. A file that ends before the
    stretch does (it is short, truncated, or shorter than its manifest says)
    gives what it has: the stretch is moved back into it and, where that is not
    enough, repeated. Except for short files this is a warning, once for each
    file. Samples that are not finite, or beyond `LARGEST_SAMPLE` (2**31),
    become 0, with a warning likewise.

    A sample of a stretch is the same whatever the stretch it is in, of a file
    of another rate, too, where `seconds` is given. Only decoders that give
    other samples after a seek differ: MP3 by 1e-7, and OGG, in a file's last
    second, some ms further on.

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
    waits : sequence of float
        Seconds to wait before each further attempt, should reading fail.

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
    stretch = start_seconds, seconds, sample_rate, channel
    for wait in waits:
        try:
            samples = _read_stretch(path, *stretch)
            break
        except AudioError:
            time.sleep(wait)
    else:
        samples = _read_stretch(path, *stretch)
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


def _read_seconds(path: str) -> float:
    with _open_audio(path) as file:
        return file.frames / float(file.samplerate)


def _check_audio(path: str) -> float:
    """Check a file as `check_audio` does, once."""
    with _open_audio(path) as file:
        seconds: float = file.frames / file.samplerate
        shortened = _DATA_CHUNK.search(file.extra_info)
        if shortened is not None:
            promised, held = map(int, shortened.groups())
            missing = (promised - held) / max(held, 1) * seconds
            if (
                promised < _UNKNOWN_LENGTH_BYTES
                and missing > _HEADER_TOLERANCE_SECONDS
            ):
                raise TruncatedAudioError(
                    f"{path} is truncated: its header promises {promised} "
                    f"bytes of samples, the file holds {held}"
                )
        try:
            if file.seekable() and _can_decode_last_sample(file):
                return seconds
            num_frames = _count_frames(path)
        except OSError as error:
            raise AudioError(f"Cannot read audio from {path}") from error
        missing = (file.frames - num_frames) / file.samplerate
        if missing > _HEADER_TOLERANCE_SECONDS or num_frames == 0:
            raise TruncatedAudioError(
                f"{path} is truncated: its header promises {file.frames} "
                f"samples, {num_frames} can be decoded"
            )
        return num_frames / float(file.samplerate)


def _try_again(inspect: Callable[[str], float], path: str) -> float:
    """Inspect a file, once more where the system failed and not the file."""
    try:
        return inspect(path)
    except AudioError as error:
        if not _is_systems(error.__cause__):
            raise
    time.sleep(RETRY_WAITS[0])
    return inspect(path)


def _is_systems(error: BaseException | None) -> bool:
    """Whether the operating system failed, such as with EIO."""
    if isinstance(error, soundfile.LibsndfileError):
        return bool(error.code == _SYSTEM_ERROR)
    is_missing = isinstance(error, FileNotFoundError)
    return isinstance(error, OSError) and bool(error.errno) and not is_missing


@contextmanager
def _open_audio(path: str) -> Iterator[soundfile.SoundFile]:
    """Open a file for reading, with this module's errors."""
    with warn_if_slow(path), _open_file(path) as file:
        if file.frames <= 0:
            raise EmptyAudioError(f"{path} holds no audio: 0 samples")
        if file.frames >= _UNKNOWN_LENGTH_FRAMES:
            raise AudioError(
                f"{path} does not say how long it is: re-encode it"
            )
        if file.samplerate < _LOWEST_SAMPLE_RATE:
            raise AudioError(
                f"Expected a sample rate of at least {_LOWEST_SAMPLE_RATE} "
                f"Hz, got {file.samplerate} Hz in the header of {path}: "
                "repair the file, or leave it out"
            )
        yield file


def _open_file(path: str) -> soundfile.SoundFile:
    """Open a file with all of its samples, if the header promises less."""
    try:
        size = check_regular_file(path).st_size
        file = soundfile.SoundFile(path)
        repaired = find_unpromised_samples(file, path, size)
        if repaired is None:
            return file
        promised = file.frames
        file.close()
        file = soundfile.SoundFile(io.BytesIO(repaired))
    except (
        soundfile.SoundFileError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        exists = os.path.exists(path)
        reason = str(error) if exists else "there is no such file"
        raise AudioError(f"Cannot read audio from {path}: {reason}") from error
    _warn_once(
        path,
        "%s holds more than its header promises, %d frames rather than %d: "
        "all are read. Repair the header, or leave the file out.",
        file.frames,
        promised,
    )
    return file


def _read_stretch(
    path: str,
    start_seconds: float,
    seconds: float | None,
    sample_rate: int,
    channel: int | None,
) -> torch.Tensor:
    """Read a stretch of a file, or as much of it as there is."""
    with _open_audio(path) as file:
        rate = file.samplerate
        first, count = _place_stretch(file, path, start_seconds, seconds)
        if seconds is not None and rate != sample_rate:
            wanted = start_seconds, seconds, sample_rate
            return _read_resampled(file, path, file.frames, *wanted, channel)
        samples, _ = _read_mono(file, path, first, count, channel)
        if rate != sample_rate:
            samples = resample(samples, rate, sample_rate)
        return samples


def _read_mono(
    file: soundfile.SoundFile,
    path: str,
    first: int,
    count: int,
    channel: int | None,
) -> tuple[torch.Tensor, int]:
    """Read frames, mixed down, and return which is the first of them."""
    frames, first = _read_frames(file, path, first, count)
    # The others are decoded to integers.
    if not file.subtype.startswith("PCM"):
        frames = _silence_absurd_samples(frames, path)
    return torch.from_numpy(_to_mono(frames, channel)), first


def _read_resampled(
    file: soundfile.SoundFile,
    path: str,
    num_frames: int,
    start_seconds: float,
    seconds: float,
    sample_rate: int,
    channel: int | None,
) -> torch.Tensor:
    """Read a stretch at another rate, moved back into the frames there are."""
    total = -(-num_frames * sample_rate // file.samplerate)
    count = min(max(round(seconds * sample_rate), 1), total)
    begin = min(round(start_seconds * sample_rate), total - count)
    stretch = Stretch(begin, count, file.samplerate, sample_rate)
    start, stop = stretch.frames()
    first, last = max(start, 0), min(stop, num_frames)
    samples, found = _read_mono(file, path, first, last - first, channel)
    end = found + len(samples)
    if end < last:  # truncated: as a file that ends there, or with the stretch
        needed = -(-(begin + count) * file.samplerate // sample_rate)
        end = needed if needed < last else end
        wanted = start_seconds, seconds, sample_rate
        return _read_resampled(file, path, end, *wanted, channel)
    outside = first - start, stop - last
    return stretch.resample(torch.nn.functional.pad(samples, outside))


def _place_stretch(
    file: soundfile.SoundFile,
    path: str,
    start_seconds: float,
    seconds: float | None,
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
        _warn_of_missing_frames(path, first + count, file.frames)
    return min(first, last_start), count


def _read_frames(
    file: soundfile.SoundFile, path: str, first: int, count: int
) -> tuple[np.ndarray, int]:
    """Read `count` frames, or the last ones that can be decoded.

    Returns
    -------
    numpy.ndarray
        `count` frames from the first, or as many that end where the file does.
    int
        Which frame of the file is the first of them.
    """
    if first == 0 or file.seekable():
        frames = _read_at(file, first, count)
        if len(frames) < count:
            # A decoder that failed keeps its error, which may have passed.
            with _open_audio(path) as fresh:
                frames = _read_at(fresh, first, count)
        if len(frames) == count:
            return frames, first
    with _open_audio(path) as fresh:
        frames, end = _decode_from_the_start(fresh, first, count)
    if not len(frames):
        with _open_audio(path) as fresh:
            try:
                is_damaged = fresh.seekable() and _can_decode_last_sample(fresh)
            except OSError as error:
                raise AudioError(f"Cannot read audio from {path}") from error
        if not is_damaged:
            raise TruncatedAudioError(
                f"{path} is truncated: a valid header and no sample "
                "that decodes"
            )
        # Damaged where the stretch begins, sound further on: no reason to
        # stop a training run.
        frames = np.zeros((count, file.channels), dtype=np.float32)
        frames = frames.squeeze(1) if file.channels == 1 else frames
        start = first
    else:
        start = min(first, end - len(frames))
    missing = (first + count - end) / file.samplerate
    if missing > _HEADER_TOLERANCE_SECONDS:
        _warn_of_missing_frames(path, file.frames, end)
    return frames, start


def _read_at(file: soundfile.SoundFile, first: int, count: int) -> np.ndarray:
    """Read frames from a place, none of them where that fails."""
    try:
        if first or file.seekable():
            file.seek(first)
        return file.read(count, dtype="float32")
    except (soundfile.SoundFileError, OSError):
        return np.empty(0, dtype=np.float32)


def _decode_from_the_start(
    file: soundfile.SoundFile, first: int, count: int
) -> tuple[np.ndarray, int]:
    """Decode frames until the decoder gives up, and return the last ones.

    Returns
    -------
    numpy.ndarray
        `count` frames from the first, or the last ones that there are.
    int
        How many frames of the file could be decoded, up to that place.
    """
    blocks: deque[np.ndarray] = deque()
    dropped = end = 0
    for block in _decode_blocks(file):
        blocks.append(block)
        end += len(block)
        # Nothing before this is returned, however the file goes on.
        needed = min(first, end - count)
        while dropped + len(blocks[0]) <= needed:
            dropped += len(blocks.popleft())
        if end >= first + count:
            end = first + count
            break
    if not blocks:
        return np.empty(0, dtype=np.float32), 0
    start = max(0, min(first, end - count)) - dropped
    return np.concatenate(blocks)[start:][:count], end


def _decode_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    try:
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32")):
            yield block
    except (soundfile.SoundFileError, OSError):
        pass


def _count_frames(path: str) -> int:
    """Count what can be decoded from the start, without seeking."""
    with _open_audio(path) as fresh:
        return sum(map(len, _decode_blocks(fresh)))


def _can_decode_last_sample(file: soundfile.SoundFile) -> bool:
    try:
        file.seek(file.frames - 1)
        return len(file.read(1)) == 1
    except soundfile.SoundFileError:
        return False


def _silence_absurd_samples(frames: np.ndarray, path: str) -> np.ndarray:
    # Comparisons with nan are false.
    if frames.min() >= -LARGEST_SAMPLE and frames.max() <= LARGEST_SAMPLE:
        return frames
    _warn_once(
        path,
        "%s holds samples that are not finite, or beyond any recording's "
        "range (2**31): they are taken as 0. Repair the file, or leave it "
        "out.",
    )
    return np.where(np.abs(frames) <= LARGEST_SAMPLE, frames, np.float32(0))


def _to_mono(frames: np.ndarray, channel: int | None) -> np.ndarray:
    if frames.ndim == 1:
        return frames
    return frames.mean(axis=1) if channel is None else frames[:, channel].copy()


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
