"""Compressed audio, decoded by what is installed for it."""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import numpy as np

Decoder = Callable[[pathlib.Path, int], np.ndarray]


def choose_decoder() -> Decoder:
    """Choose what decodes: ffmpeg where it is installed, else PyAV.

    Returns
    -------
    callable
        Of a path and a rate in Hz; returns int16, (samples,), channels mixed
        down. It raises OSError, RuntimeError or ValueError for a file that it
        cannot decode.

    Raises
    ------
    RuntimeError
        Neither is installed.
    """
    if shutil.which("ffmpeg"):
        return _decode_by_ffmpeg
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            "Compressed audio needs ffmpeg or PyAV, and neither is installed: "
            "install ffmpeg, or pip install 'ssps_plugin[m4a]'."
        ) from error
    return _decode_by_pyav


def _decode_by_ffmpeg(path: pathlib.Path, sample_rate: int) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", str(path)]
    command += ["-ac", "1", "-ar", str(sample_rate), "-f", "s16le", "-"]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr.decode(errors="replace")[:200])
    return np.frombuffer(found.stdout, dtype=np.int16)


def _decode_by_pyav(path: pathlib.Path, sample_rate: int) -> np.ndarray:
    import av

    resampler = av.AudioResampler("s16", "mono", sample_rate)
    parts = []
    with av.open(os.fspath(path)) as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        for frame in container.decode(audio=0):
            parts += [p.to_ndarray()[0] for p in resampler.resample(frame)]
        parts += [p.to_ndarray()[0] for p in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int16)
