"""How fast a corpus is prepared: files a second, the first time and again.

Makes a tree of short files in VoxCeleb2's layout (WAV and FLAC in turn), in a
temporary folder, and writes its manifest twice, then once more after one
recording was added. Reading headers waits for the file system; here it is
local and its pages are in memory.

    python benchmarks/preparation.py [NUM_FILES] [FOLDER]
"""

import contextlib
import io
import logging
import os
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np
import soundfile

from ssps_plugin.dataio import prepare_manifest
from ssps_plugin.dataio.corpus.header_cache import CACHE_VARIABLE

RATE = 16000
SECONDS = 0.5
RECORDINGS, UTTERANCES = 25, 8
VOXCELEB = {"VoxCeleb2 dev": 1_092_009, "VoxCeleb1 dev": 148_642}


def make_tree(folder: pathlib.Path, num_files: int) -> None:
    """Write `dev/aac/<speaker>/<recording>/<utterance>`, copies of two."""
    noise = np.random.default_rng(0).normal(0, 0.1, int(SECONDS * RATE))
    contents = {}
    for suffix in ("wav", "flac"):
        file = io.BytesIO()
        soundfile.write(file, noise, RATE, format=suffix)
        contents[suffix] = file.getvalue()
    for number in range(num_files):
        recording, utterance = divmod(number, UTTERANCES)
        speaker, recording = divmod(recording, RECORDINGS)
        place = folder / f"dev/aac/id{speaker:05d}/video{recording:02d}"
        if utterance == 0:
            place.mkdir(parents=True)
        suffix = ("wav", "flac")[number % 2]
        (place / f"{utterance:05d}.{suffix}").write_bytes(contents[suffix])


def timed(folder: pathlib.Path, manifest: pathlib.Path) -> tuple[float, float]:
    """Prepare; return seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        prepare_manifest(folder, manifest)
    return time.perf_counter() - clock, time.process_time() - processor


def main(num_files: int, parent: str | None) -> None:
    """Print a row a preparation, and what VoxCeleb would take."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        os.environ[CACHE_VARIABLE] = str(pathlib.Path(name) / "cache")
        folder = pathlib.Path(name) / "corpus"
        make_tree(folder, num_files)
        manifest = pathlib.Path(name) / "train.csv"
        print("| preparation | files | clock | processor | files/s (clock) |")
        print("| --- | --- | --- | --- | --- |")

        def row(what: str) -> float:
            clock, processor = timed(folder, manifest)
            print(
                f"| {what} | {num_files} | {clock:.2f} s | {processor:.2f} s "
                f"| {num_files / clock:,.0f} |"
            )
            return clock

        first = row("first")
        row("again")
        source = folder / "dev/aac/id00000/video00"
        shutil.copytree(source, source.with_name("video99"))
        row("after a recording was added")
    for corpus, size in VOXCELEB.items():
        print(f"{corpus}, {size} files: {first / num_files * size:.0f} s")


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 100_000,
        sys.argv[2] if len(sys.argv) > 2 else None,
    )
