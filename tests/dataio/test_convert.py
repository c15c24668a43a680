"""Claims about the conversion of compressed audio, by ffmpeg and by PyAV.

ffmpeg is a script that is used in its place; PyAV decodes .m4a files that the
tests encode themselves.
"""

import errno
import os
import pathlib
import runpy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio import convert
from ssps_plugin.dataio.convert import convert_folder
from ssps_plugin.dataio.corpus import Corpus

RATE = 44100
# The text in a file decides what the script makes of it.
FFMPEG_SCRIPT = """#!/bin/sh
echo "$@" >> "$0.log"
while [ "$1" != "-i" ]; do shift; done
case "$(cat "$2")" in
good) printf '\\001\\000\\002\\000\\377\\377' ;;
broken) echo "moov atom not found" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text(FFMPEG_SCRIPT)
    path.chmod(0o755)
    search = f"{path.parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", search)
    return path


@pytest.fixture
def write(tmp_path, ffmpeg):
    """Write a file for the script."""

    def write_file(name, content):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write_file


@pytest.fixture
def av(monkeypatch):
    """PyAV, and no ffmpeg."""
    module = pytest.importorskip("av")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return module


@pytest.fixture
def write_m4a(av):
    """Encode a stereo sine as AAC."""

    def write_file(path, seconds=1.0, frequency=440.0):
        path.parent.mkdir(parents=True, exist_ok=True)
        times = np.arange(round(seconds * RATE)) / RATE
        sine = np.sin(2 * np.pi * frequency * times).astype(np.float32)
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=RATE, layout="stereo")
            for start in range(0, len(sine), 1024):
                block = np.stack([0.5 * sine[start : start + 1024]] * 2)
                frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
                frame.sample_rate = RATE
                frame.pts = start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return write_file


@pytest.fixture
def source(tmp_path, write_m4a):
    for speaker in ("id00012", "id00015"):
        write_m4a(tmp_path / "dev" / "aac" / speaker / "video" / "00001.m4a")
    return tmp_path


def test_the_output_of_ffmpeg_is_written(write, tmp_path, ffmpeg):
    write("id1/video/1.m4a", "good")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert (done.num_converted, done.failed) == (1, {})
    path = tmp_path / "target/id1/video/1.flac"
    samples, rate = soundfile.read(path, dtype="int16")
    assert (samples.tolist(), rate) == ([1, 2, -1], 16000)
    options = (ffmpeg.parent / "ffmpeg.log").read_text()
    assert "-ac 1 -ar 16000 -f s16le -" in options


def test_a_file_that_ffmpeg_refuses_is_listed_with_its_message(write, tmp_path):
    write("id1/video/1.m4a", "good")
    write("id1/video/2.m4a", "broken")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert done.num_converted == 1
    assert done.failed == {"id1/video/2.m4a": "moov atom not found"}
    listed = (tmp_path / "target" / "not_converted.txt").read_text()
    assert listed == "id1/video/2.m4a\tmoov atom not found\n"


def test_a_file_without_output_holds_no_audio(write, tmp_path):
    write("id1/video/1.m4a", "empty")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert done.failed == {"id1/video/1.m4a": "it holds no audio"}
    assert not (tmp_path / "target/id1/video/1.flac").exists()


def test_the_list_of_failures_is_removed_once_there_are_none(write, tmp_path):
    broken = write("id1/video/1.m4a", "broken")
    convert_folder(tmp_path / "source", tmp_path / "target")
    broken.write_text("good")
    assert not convert_folder(tmp_path / "source", tmp_path / "target").failed
    assert not (tmp_path / "target" / "not_converted.txt").exists()


def test_files_that_a_killed_conversion_had_not_finished_are_removed(
    write, tmp_path
):
    write("id1/video/1.m4a", "good")
    folder = tmp_path / "target/id1/video"
    folder.mkdir(parents=True)
    left = folder / ".1.flac.4711.tmp"
    others = folder / "notes.4711.tmp"
    for path in (left, others):
        path.touch()
        os.utime(path, (0, 0))
    running = folder / ".2.flac.4712.tmp"
    running.touch()
    os.utime(running, (2**32, 2**32))
    convert_folder(tmp_path / "source", tmp_path / "target")
    assert not left.exists()
    assert others.exists() and running.exists()


def test_many_files_are_few_tasks(write, tmp_path, monkeypatch):
    for number in range(200):
        write(f"id1/video/{number:03d}.m4a", "")
    decoded, tasks, submit = [], [], ThreadPoolExecutor.submit

    def decode(path, rate):
        decoded.append(path.name)
        return np.ones(16, dtype=np.int16)

    def count(pool, *arguments):
        tasks.append(arguments)
        return submit(pool, *arguments)

    monkeypatch.setattr(convert, "choose_decoder", lambda: decode)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", count)
    done = convert_folder(
        tmp_path / "source", tmp_path / "target", num_threads=1
    )
    assert done.num_converted == len(set(decoded)) == 200
    assert len(tasks) == 7


def test_as_many_at_a_time_as_there_are_cores_for_this_process(monkeypatch):
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False
    )
    assert convert._num_cores() == 3


def test_a_loop_of_links_converts_every_file_once(write, tmp_path):
    write("id1/video/1.m4a", "good")
    for name in ("up", "again"):
        link = tmp_path / "source" / "id1" / name
        link.symlink_to(tmp_path / "source")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert (done.num_converted, done.num_kept) == (1, 0)


def test_only_regular_files_are_given_to_the_decoder(write, tmp_path):
    write("id1/video/1.m4a", "good")
    os.mkfifo(tmp_path / "source/id1/video/2.m4a")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert done.num_converted == 1
    assert "a FIFO (named pipe)" in done.failed["id1/video/2.m4a"]


def test_it_runs_as_a_program(write, tmp_path, monkeypatch):
    write("id1/video/1.m4a", "good")
    folders = [str(tmp_path / "source"), str(tmp_path / "target")]
    monkeypatch.setattr(sys, "argv", ["convert", *folders, "--format", "wav"])
    monkeypatch.delitem(sys.modules, convert.__name__)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(convert.__name__, run_name="__main__")
    assert end.value.code == 0
    assert (tmp_path / "target/id1/video/1.wav").exists()


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_a_converted_corpus_is_the_same_speech_at_16_khz_mono(
    source, tmp_path, format
):
    target = tmp_path / "converted"
    done = convert_folder(source / "dev", target, format, num_threads=2)
    assert (done.num_converted, done.failed) == (2, {})
    files = Corpus(target).files()
    assert [file.speaker for file in files] == ["id00012", "id00015"]
    samples, rate = soundfile.read(target / files[0].path)
    assert rate == 16000 and samples.ndim == 1
    assert len(samples) == pytest.approx(16000, abs=2500)  # AAC pads
    middle = samples[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 2.0 == pytest.approx(440, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.1)


def test_a_second_run_converts_only_what_is_missing(source, tmp_path):
    target = tmp_path / "converted"
    convert_folder(source / "dev", target)
    first, second = (target / file.path for file in Corpus(target).files())
    written = first.stat().st_mtime_ns
    second.unlink()
    done = convert_folder(source / "dev", target)
    assert (done.num_converted, done.num_kept) == (1, 1)
    assert second.exists() and first.stat().st_mtime_ns == written


def test_a_broken_file_is_listed_and_the_others_are_converted(source, tmp_path):
    broken = source / "dev/aac/id00012/video/00002.m4a"
    broken.write_bytes(b"no audio at all")
    target = tmp_path / "converted"
    done = convert_folder(source / "dev", target)
    assert done.num_converted == 2
    assert list(done.failed) == ["aac/id00012/video/00002.m4a"]
    assert "00002.m4a" in (target / "not_converted.txt").read_text()
    assert not list(target.rglob("*.tmp"))
    assert convert.main([str(source / "dev"), str(target)]) == 1


def test_a_full_disk_ends_it_and_leaves_nothing_half_written(
    source, write_m4a, tmp_path, monkeypatch
):
    for number in range(2, 30):
        write_m4a(source / f"dev/aac/id00012/video/{number:05d}.m4a", 0.2)
    target, write_bytes = tmp_path / "converted", pathlib.Path.write_bytes
    written = []

    def until_full(path, content):
        written.append(path)
        if len(written) < 4:
            return write_bytes(path, content)
        write_bytes(path, bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "write_bytes", until_full)
        with pytest.raises(OSError, match=r"No room left in .*converted") as e:
            convert_folder(source / "dev", target, num_threads=1)
    assert e.value.errno == errno.ENOSPC
    assert len(written) < 10  # the other files were not tried
    left = [path for path in target.rglob("*") if path.is_file()]
    assert len(left) == 3
    assert all(soundfile.info(path).frames > 0 for path in left)
    done = convert_folder(source / "dev", target)
    assert (done.num_converted, done.num_kept) == (27, 3)


def test_a_folder_without_compressed_audio_is_an_error(av, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to convert"):
        convert_folder(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no folder at"):
        convert_folder(tmp_path / "absent", tmp_path / "out")


def test_another_format_is_an_error(source, tmp_path):
    with pytest.raises(ValueError, match="Expected format flac or wav"):
        convert_folder(source, tmp_path / "out", format="mp3")


def test_without_a_decoder_the_error_says_what_to_install(
    source, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RuntimeError, match=r"pip install 'ssps_plugin\[m4a\]'"):
        convert_folder(source, tmp_path / "out")
