"""Short clips that a browser plays, to be embedded into a page."""

from __future__ import annotations

import base64
import io
import os

import numpy as np
import soundfile

from ssps_plugin.dataio.audio import audio_seconds, read_audio

#: Longest clip: 3 s in MP3 are about 20 kB.
CLIP_SECONDS = 3.0
# The first that libsndfile can write. Every browser plays MP3 and WAV.
_FORMATS = (
    ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    ("OGG", "OPUS", "audio/ogg"),
    ("WAV", "PCM_16", "audio/wav"),
)
_SAMPLE_RATE = 16000
# Louder than this, a clip is scaled down; much softer, up.
_PEAK = 0.7


def read_clip(
    path: str | os.PathLike[str], seconds: float = CLIP_SECONDS
) -> str:
    """Read the middle of a recording as a `data:` address of its audio.

    Clips are scaled to the same peak, to be compared by ear.

    Arguments
    ---------
    path : str or os.PathLike
        The recording.
    seconds : float
        Longest clip.

    Returns
    -------
    str
        `data:audio/mpeg;base64,…`; Opus or WAV where MP3 cannot be written.

    Raises
    ------
    AudioError
        The file cannot be read.
    """
    length = audio_seconds(path)
    start = max(0.0, (length - seconds) / 2)
    samples = read_audio(
        path, start, min(seconds, length), sample_rate=_SAMPLE_RATE
    ).numpy()
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 0:
        samples = samples * (_PEAK / peak)
    content, media_type = encode_audio(samples, _SAMPLE_RATE)
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def encode_audio(samples: np.ndarray, sample_rate: int) -> tuple[bytes, str]:
    """Encode samples by the first format that libsndfile can write.

    Arguments
    ---------
    samples : numpy.ndarray
        `(samples,)` in [-1, 1].
    sample_rate : int
        In Hz.

    Returns
    -------
    content : bytes
        A file.
    media_type : str
        Its type.
    """
    error: Exception | None = None
    for file_format, subtype, media_type in _FORMATS:
        buffer = io.BytesIO()
        try:
            soundfile.write(
                buffer, samples, sample_rate, subtype, format=file_format
            )
        except (soundfile.LibsndfileError, ValueError, TypeError) as failure:
            error = failure
            continue
        return buffer.getvalue(), media_type
    raise RuntimeError(f"Expected a libsndfile that writes WAV, got: {error}")
