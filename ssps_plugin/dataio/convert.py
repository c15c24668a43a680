"""Convert compressed audio once: ``python -m ssps_plugin.dataio.convert``.

VoxCeleb2 comes as .m4a (AAC), which libsndfile does not read.
"""

import argparse
import errno
import io
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import soundfile
from tqdm import tqdm

from ssps_plugin.dataio.corpus.folders import COMPRESSED

logger = logging.getLogger(__name__)

FORMATS = {"flac": "PCM_16", "wav": "PCM_16"}
# Every other file would fail likewise: the disk or the quota is full.
_FULL = {errno.ENOSPC, errno.EDQUOT}
# A million files are not a million tasks.
_LARGEST_CHUNK = 32
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")

Decoder = Callable[[pathlib.Path, int], np.ndarray]


@dataclass
class Conversion:
    """What a conversion did.

    Arguments
    ---------
    num_converted : int
        Files written now.
    num_kept : int
        Files that were there already.
    failed : dict of str to str
        Files that could not be converted, and why.
    """

    num_converted: int = 0
    num_kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, results: Iterable[tuple[str, str | None]]) -> None:
        """Count files: each with None (was there), "" (done) or a problem."""
        for name, problem in results:
            if problem is None:
                self.num_kept += 1
            elif problem:
                self.failed[name] = problem
            else:
                self.num_converted += 1


def convert_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    format: str = "flac",
    sample_rate: int = 16000,
    num_threads: int | None = None,
) -> Conversion:
    """Convert every compressed file of a corpus, in parallel.

    The folders below `target` are those below `source`. A file is written
    whole or not at all, and one that is there is left alone, so a conversion
    that was stopped goes on where it was, and what it left unfinished is
    removed. What cannot be converted is left out, and listed in
    `<target>/not_converted.txt`.

    Arguments
    ---------
    source : str or os.PathLike
        The corpus, with .m4a, .mp4 or .aac files at any depth.
    target : str or os.PathLike
        Where the converted corpus goes; may be `source`.
    format : str
        "flac", about half the size, or "wav".
    sample_rate : int
        Hz; channels are mixed down.
    num_threads : int, optional
        Files converted at the same time; by default as many as there are
        cores this process may use.

    Returns
    -------
    Conversion
        What was done.

    Raises
    ------
    FileNotFoundError
        No such folder, or no compressed file in it.
    RuntimeError
        Neither ffmpeg nor PyAV is installed.
    ValueError
        Another format.
    OSError
        The disk is full; nothing half-written is left.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if format not in FORMATS:
        raise ValueError(
            f"Expected format {' or '.join(FORMATS)}, got {format!r}."
        )
    decode = choose_decoder()
    files = _compressed_files(source)
    done = Conversion()

    def convert(name: str) -> tuple[str, str | None]:
        output = (target / name).with_suffix(f".{format}")
        if output.exists():
            return name, None
        try:
            samples = decode(source / name, sample_rate)
            _write(output, samples, sample_rate, format)
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise OSError(
                    error.errno,
                    f"No room left in {target} for {name}. What is there is "
                    "whole; make room, and the same command goes on",
                ) from error
            return name, " ".join(str(error).split()) or type(error).__name__
        return name, ""

    def convert_chunk(names: list[str]) -> list[tuple[str, str | None]]:
        return [convert(name) for name in names]

    started = time.time()
    workers = num_threads or _num_cores()
    chunks = _chunks(files, workers)
    with (
        ThreadPoolExecutor(max_workers=workers) as pool,
        tqdm(total=len(files), desc="Converting", unit="file") as bar,
    ):
        for results in pool.map(convert_chunk, chunks):
            done.add(results)
            bar.update(len(results))
    _remove_unfinished({(target / name).parent for name in files}, started)
    _report(done, target)
    return done


def _num_cores() -> int:
    """Cores this process may use: a share of a machine's, in many jobs."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunks(files: list[str], workers: int) -> list[list[str]]:
    """Tasks of several files, enough of them to keep every thread busy."""
    size = max(1, min(_LARGEST_CHUNK, len(files) // (4 * workers)))
    return [files[i : i + size] for i in range(0, len(files), size)]


def _remove_unfinished(folders: set[pathlib.Path], before: float) -> None:
    """Remove what a killed conversion was writing when it was killed."""
    for folder in folders:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if (
                    _UNFINISHED.fullmatch(entry.name)
                    and entry.stat().st_mtime < before
                ):
                    pathlib.Path(entry.path).unlink(missing_ok=True)


def _compressed_files(source: pathlib.Path) -> list[str]:
    if not source.is_dir():
        raise FileNotFoundError(
            f"Expected a corpus to convert, got no folder at {source}."
        )
    files = sorted(
        os.path.relpath(os.path.join(root, name), source)
        for root, _, names in os.walk(source, followlinks=True)
        for name in names
        if name.lower().endswith(COMPRESSED) and not name.startswith(".")
    )
    if not files:
        raise FileNotFoundError(
            f"Expected {', '.join(COMPRESSED)} files below {source}, got none: "
            "there is nothing to convert."
        )
    return files


def _write(
    output: pathlib.Path, samples: np.ndarray, sample_rate: int, format: str
) -> None:
    if not len(samples):
        raise ValueError("it holds no audio")
    # In memory first: libsndfile does not say that a disk is full.
    encoded = io.BytesIO()
    soundfile.write(
        encoded,
        samples,
        sample_rate,
        subtype=FORMATS[format],
        format=format.upper(),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(encoded.getbuffer())
        os.replace(unfinished, output)
    finally:
        unfinished.unlink(missing_ok=True)


def _report(done: Conversion, target: pathlib.Path) -> None:
    logger.info(
        "Converted %d files to %s; %d were there already",
        done.num_converted,
        target,
        done.num_kept,
    )
    listed = target / "not_converted.txt"
    if not done.failed:
        listed.unlink(missing_ok=True)  # of an earlier conversion
    else:
        listed.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}\t{why}\n" for name, why in done.failed.items())
        listed.write_text("".join(lines), encoding="utf-8")
        logger.warning(
            "%d files could not be converted; they are named in %s",
            len(done.failed),
            listed,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a folder; returns 1 where a file could not be converted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m ssps_plugin.dataio.convert",
        description="Convert a corpus of .m4a files, once and in parallel.",
    )
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--format", choices=[*FORMATS], default="flac")
    parser.add_argument("--sample_rate", type=int, default=16000)
    parser.add_argument("--num_threads", type=int, default=None)
    return int(
        bool(convert_folder(**vars(parser.parse_args(arguments))).failed)
    )


if __name__ == "__main__":
    sys.exit(main())


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
