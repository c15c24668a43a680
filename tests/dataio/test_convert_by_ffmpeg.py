"""Claims about conversion by ffmpeg, by a script that stands in for it."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio import convert
from ssps_plugin.dataio.convert import convert_folder

# What a file says decides what becomes of it.
STAND_IN = """#!/bin/sh
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
    path.write_text(STAND_IN)
    path.chmod(0o755)
    search = f"{path.parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", search)
    return path


@pytest.fixture
def write(tmp_path, ffmpeg):
    def write_file(name, content):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return write_file


def test_what_ffmpeg_puts_out_is_what_is_written(write, tmp_path, ffmpeg):
    write("id1/video/1.m4a", "good")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert (done.num_converted, done.failed) == (1, {})
    path = tmp_path / "target/id1/video/1.flac"
    samples, rate = soundfile.read(path, dtype="int16")
    assert (samples.tolist(), rate) == ([1, 2, -1], 16000)
    options = (ffmpeg.parent / "ffmpeg.log").read_text()
    assert "-ac 1 -ar 16000 -f s16le -" in options


def test_what_ffmpeg_refuses_is_listed_with_what_it_says(write, tmp_path):
    write("id1/video/1.m4a", "good")
    write("id1/video/2.m4a", "broken")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert done.num_converted == 1
    assert done.failed == {"id1/video/2.m4a": "moov atom not found"}
    listed = (tmp_path / "target" / "not_converted.txt").read_text()
    assert listed == "id1/video/2.m4a\tmoov atom not found\n"


def test_no_output_is_no_audio(write, tmp_path):
    write("id1/video/1.m4a", "empty")
    done = convert_folder(tmp_path / "source", tmp_path / "target")
    assert done.failed == {"id1/video/1.m4a": "it holds no audio"}
    assert not (tmp_path / "target/id1/video/1.flac").exists()


def test_a_list_of_failures_goes_when_there_are_none_any_more(write, tmp_path):
    broken = write("id1/video/1.m4a", "broken")
    convert_folder(tmp_path / "source", tmp_path / "target")
    broken.write_text("good")
    assert not convert_folder(tmp_path / "source", tmp_path / "target").failed
    assert not (tmp_path / "target" / "not_converted.txt").exists()


def test_what_a_killed_conversion_left_unfinished_is_removed(write, tmp_path):
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
