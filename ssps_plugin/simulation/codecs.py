"""Codecs: the losses of storage formats and telephone lines."""

import io
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation.corpus import SAMPLE_RATE


@dataclass(frozen=True)
class Codec:
    """Lossy format of libsndfile.

    Arguments
    ---------
    container, subtype : str
        As soundfile names them, such as `"OGG"` and `"VORBIS"`.
    sample_rate : int
        Rate that the codec works at, 16000 or 8000 Hz.
    compression : float, optional
        0 (best quality) to 1 (smallest file); None where the format has none.
    """

    container: str
    subtype: str
    sample_rate: int = SAMPLE_RATE
    compression: float | None = None

    def apply(self, waveform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encode and decode a waveform.

        Arguments
        ---------
        waveform : numpy.ndarray
            `(samples,)` at 16 kHz, within [-1, 1].

        Returns
        -------
        numpy.ndarray
            `(samples,)` at 16 kHz.

        Example
        -------
        >>> tone = np.sin(np.arange(16000) / 10) / 2
        >>> decoded = Codec("WAV", "ULAW").apply(tone)
        >>> decoded.shape, 0 < float(np.abs(decoded - tone).max()) < 0.05
        ((16000,), True)
        """
        factor = SAMPLE_RATE // self.sample_rate
        narrow = waveform if factor == 1 else resample_poly(waveform, 1, factor)
        memory = io.BytesIO()
        soundfile.write(
            memory,
            np.clip(narrow, -1, 1),
            self.sample_rate,
            format=self.container,
            subtype=self.subtype,
            compression_level=self.compression,
        )
        memory.seek(0)
        decoded = soundfile.read(memory, dtype="float64")[0]
        if factor > 1:
            decoded = resample_poly(decoded, factor, 1)
        # Codecs work in frames, so they may return a few samples more.
        decoded = decoded[: len(waveform)]
        return np.pad(decoded, (0, len(waveform) - len(decoded)))


# Fractions of the recordings. Few have telephone codecs, which halve the band:
# a recording should have near neighbours rather than be in one of a handful of
# classes. Few have Opus, because it is the slowest by far.
_CODECS: tuple[tuple[float, Codec | None], ...] = (
    (0.40, None),
    (0.16, Codec("OGG", "VORBIS", compression=1.0)),
    (0.16, Codec("MP3", "MPEG_LAYER_III", compression=1.0)),
    (0.05, Codec("OGG", "OPUS", compression=1.0)),
    (0.08, Codec("WAV", "IMA_ADPCM")),
    (0.05, Codec("WAV", "ULAW")),
    (0.05, Codec("WAV", "ULAW", sample_rate=8000)),
    (0.05, Codec("WAV", "GSM610", sample_rate=8000)),
)


def draw_codec(rng: Generator) -> Codec | None:
    """Draw a codec, or None for a lossless recording.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Codec or None
        Its compression, if any, is from a continuous range.
    """
    fractions = [fraction for fraction, _ in _CODECS]
    codec = _CODECS[int(rng.choice(len(_CODECS), p=fractions))][1]
    compression = float(rng.uniform(0.3, 0.99))
    if codec is None or codec.compression is None:
        return codec
    return Codec(codec.container, codec.subtype, compression=compression)
