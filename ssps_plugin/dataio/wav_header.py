"""Find the samples of a WAV file that its header does not promise."""

import struct
from typing import BinaryIO

import soundfile

# Fewer bytes than this after the samples are padding.
_NUM_IGNORED_BYTES = 1024
_BYTES_PER_SAMPLE = {
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}
# Of GSM 06.10; other codecs take more.
_FEWEST_BYTES_PER_SAMPLE = 0.2
# Tags that are appended without being a chunk.
_TAGS = (b"ID3", b"TAG", b"APET")
_BLOCK_BYTES = 1 << 16


def find_unpromised_samples(
    file: soundfile.SoundFile, path: str, size: int
) -> bytearray | None:
    """Find samples after those that a WAV's header promises.

    A recorder that was cut off leaves the header as it was at first: 0
    samples, or those of the first buffer. Chunks after the samples, tags,
    zeros and a few bytes are no samples. For a good file this compares two
    numbers.

    Arguments
    ---------
    file : soundfile.SoundFile
        The file, open.
    path : str
        Its path.
    size : int
        Its size in bytes.

    Returns
    -------
    bytearray or None
        The whole file, with a header that promises all of its samples; None
        if the header does so already.
    """
    if file.format not in ("WAV", "WAVEX"):
        return None
    width = _BYTES_PER_SAMPLE.get(file.subtype, _FEWEST_BYTES_PER_SAMPLE)
    if size <= file.frames * file.channels * width + _NUM_IGNORED_BYTES:
        return None
    with open(path, "rb") as opened:
        order = ">I" if opened.read(4) == b"RIFX" else "<I"
        samples = _find_samples(opened, order, size)
        if samples is None or not _go_on(opened, order, samples[1], size):
            return None
        opened.seek(0)
        content = bytearray(opened.read())
    start, _ = samples
    struct.pack_into(order, content, start - 4, len(content) - start)
    return content


def _find_samples(
    opened: BinaryIO, order: str, size: int
) -> tuple[int, int] | None:
    """Find where the promised samples start and end, None if nowhere."""
    place = 12
    while place + 8 <= size:
        opened.seek(place)
        name, length = _read_chunk(opened, order)
        end = place + 8 + length
        if name == b"data":
            return place + 8, end
        place = end + length % 2
    return None


def _go_on(opened: BinaryIO, order: str, end: int, size: int) -> bool:
    """Whether samples go on after the end of those that are promised."""
    if size - end <= _NUM_IGNORED_BYTES:
        return False
    for place in (end, end + end % 2):
        opened.seek(place)
        name, length = _read_chunk(opened, order)
        is_named = name.isascii() and name.decode().isprintable()
        is_chunk = is_named and place + 8 + length <= size + 1
        if is_chunk or name.startswith(_TAGS):
            return False
    opened.seek(end)
    # Not one sample but zeros: the file was padded.
    return any(
        block.strip(b"\0")
        for block in iter(lambda: opened.read(_BLOCK_BYTES), b"")
    )


def _read_chunk(opened: BinaryIO, order: str) -> tuple[bytes, int]:
    """Return a chunk's name and length."""
    header = opened.read(8)
    (length,) = struct.unpack(order, header[4:])
    return header[:4], int(length)
