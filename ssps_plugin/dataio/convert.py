"""Convert compressed audio once: `python -m ssps_plugin.dataio.convert`.

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

from ssps_plugin.dataio.corpus.folders import (
    COMPRESSED_SUFFIXES,
    is_compressed,
    walk_folders,
)
from ssps_plugin.dataio.safe_reading import check_regular_file, warn_if_slow
from ssps_plugin.progress import progress_bar

logger = logging.getLogger(__name__)

FORMATS = ("flac", "wav")
# The disk or the quota is full: every other file would fail likewise.
_FULL = {errno.ENOSPC, errno.EDQUOT}
# Files of a task at most: a million files are not a million tasks.
_LARGEST_CHUNK = 32
# ffmpeg decodes a recording of a day in less: this one never answers.
_MOST_SECONDS = 1800
# As `_write` names what it has not finished.
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")

#: A function of a path and a rate in Hz; see `choose_decoder`.
Decoder = Callable[[pathlib.Path, int], np.ndarray]


@dataclass
class Conversion:
    """The numbers of files that a conversion wrote, kept, and could not read.

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
        """Count files, each with what `_convert` returned."""
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
    whole or not at all, and one that is there already is kept: a conversion
    that was stopped goes on where it was, and removes the unfinished files it
    left. Files that cannot be converted are listed in
    `<target>/not_converted.txt`.

    Arguments
    ---------
    source : str or os.PathLike
        The corpus, with .m4a, .mp4 or .aac files at any depth.
    target : str or os.PathLike
        The folder of the converted corpus; may be `source`.
    format : str
        `flac`, about half the size, or `wav`.
    sample_rate : int
        Of the converted files, in Hz; channels are mixed down.
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
        There is no such folder, or no compressed file in it.
    RuntimeError
        Neither ffmpeg nor PyAV is installed.
    ValueError
        An unknown format.
    OSError
        The disk is full; no half-written file is left.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if format not in FORMATS:
        raise ValueError(
            f"Expected format {' or '.join(FORMATS)}, got {format!r}: change "
            "--format"
        )
    decode = choose_decoder()
    files = _find_compressed_files(source)
    done = Conversion()

    def convert_chunk(names: list[str]) -> list[tuple[str, str | None]]:
        return [
            (name, _convert(name, source, target, format, sample_rate, decode))
            for name in names
        ]

    started = time.time()
    num_threads = num_threads or _num_cores()
    chunks = _split_into_chunks(files, num_threads)
    with (
        ThreadPoolExecutor(max_workers=num_threads) as pool,
        progress_bar(
            description="Converting", total=len(files), unit="file"
        ) as bar,
    ):
        for results in pool.map(convert_chunk, chunks):
            done.add(results)
            bar.update(len(results))
    _remove_unfinished({(target / name).parent for name in files}, started)
    logger.info(
        "Converted %d files to %s; %d were there already",
        done.num_converted,
        target,
        done.num_kept,
    )
    _write_failures(target / "not_converted.txt", done.failed)
    return done


def choose_decoder() -> Decoder:
    """Choose the decoder: ffmpeg where it is installed, else PyAV.

    Returns
    -------
    callable
        Takes a path and a rate in Hz, and returns int16 of `(samples,)`,
        channels mixed down. It raises OSError, RuntimeError or ValueError for
        a file that it cannot decode.

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
            "Expected ffmpeg or PyAV to decode compressed audio, got neither: "
            "install ffmpeg, or pip install 'ssps_plugin[m4a]'"
        ) from error
    return _decode_by_pyav


def _find_compressed_files(source: pathlib.Path) -> list[str]:
    if not source.is_dir():
        raise FileNotFoundError(
            f"Expected a corpus to convert, got no folder at {source}: change "
            "source"
        )
    files = sorted(
        f"{folder}{name}"
        for folder, names in walk_folders(source)
        for name in names
        if is_compressed(name)
    )
    if not files:
        raise FileNotFoundError(
            f"Expected {', '.join(COMPRESSED_SUFFIXES)} files below {source}, "
            "got nothing to convert: change source"
        )
    return files


def _num_cores() -> int:
    """Return how many cores this process may use: a job may have only some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _split_into_chunks(files: list[str], num_threads: int) -> list[list[str]]:
    """Return tasks of several files, enough to keep every thread busy."""
    size = max(1, min(_LARGEST_CHUNK, len(files) // (4 * num_threads)))
    return [files[i : i + size] for i in range(0, len(files), size)]


def _convert(
    name: str,
    source: pathlib.Path,
    target: pathlib.Path,
    format: str,
    sample_rate: int,
    decode: Decoder,
) -> str | None:
    """Convert a file; return None if it is there already, "" or the problem."""
    output = (target / name).with_suffix(f".{format}")
    if output.exists():
        return None
    try:
        check_regular_file(source / name)
        with warn_if_slow(source / name):
            samples = decode(source / name, sample_rate)
        _write(output, samples, sample_rate, format)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise OSError(
                error.errno,
                f"No room left in {target} for {name}. The files there are "
                "whole: make room, and the same command goes on",
            ) from error
        return " ".join(str(error).split()) or type(error).__name__
    return ""


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
        subtype="PCM_16",
        format=format.upper(),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(encoded.getbuffer())
        os.replace(unfinished, output)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_unfinished(folders: set[pathlib.Path], before: float) -> None:
    """Remove the files that a killed conversion had not finished."""
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


def _write_failures(path: pathlib.Path, failed: dict[str, str]) -> None:
    if not failed:
        path.unlink(missing_ok=True)  # of an earlier conversion
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{name}\t{why}\n" for name, why in failed.items())
    path.write_text("".join(lines), encoding="utf-8")
    logger.warning(
        "%d files could not be converted; they are named in %s",
        len(failed),
        path,
    )


def _decode_by_ffmpeg(path: pathlib.Path, sample_rate: int) -> np.ndarray:
    command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", str(path)]
    command += ["-ac", "1", "-ar", str(sample_rate), "-f", "s16le", "-"]
    try:
        result = subprocess.run(
            command, capture_output=True, check=False, timeout=_MOST_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"ffmpeg took more than {_MOST_SECONDS} s and was stopped"
        ) from None
    if result.returncode:
        raise RuntimeError(result.stderr.decode(errors="replace")[:200])
    return np.frombuffer(result.stdout, dtype=np.int16)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a folder; return 1 where a file could not be converted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m ssps_plugin.dataio.convert",
        description="Convert a corpus of .m4a files, once and in parallel.",
    )
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--format", choices=FORMATS, default="flac")
    parser.add_argument("--sample_rate", type=int, default=16000)
    parser.add_argument("--num_threads", type=int, default=None)
    done = convert_folder(**vars(parser.parse_args(arguments)))
    return 1 if done.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, RuntimeError, OSError) as mistake:
        sys.exit(f"Error: {mistake}")
