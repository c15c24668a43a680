"""The folder of a run: one process at a time, and nobody else's files."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from ssps_plugin.training import run_folder
from ssps_plugin.training.run_folder import (
    LOCK_NAME,
    describe_foreign_files,
    find_foreign_files,
    hold_output_folder,
)

HOLDER = """
import multiprocessing, sys, time
from ssps_plugin.training.run_folder import hold_output_folder
with hold_output_folder(sys.argv[1]):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=time.sleep, args=(60,))
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder, with a worker of its own."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    os.kill(worker, signal.SIGKILL)


def hold(folder):
    with hold_output_folder(folder):
        pass


def test_a_second_run_is_told_who_holds_the_folder(tmp_path, holder):
    message = (
        rf"no other run in output_folder {tmp_path}, got process {holder.pid} "
        rf"on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d "
    )
    with pytest.raises(RuntimeError, match=message):
        hold(tmp_path)


def test_a_killed_run_leaves_no_lock_though_its_workers_live_on(
    tmp_path, holder
):
    holder.kill()
    holder.wait()
    with hold_output_folder(tmp_path):
        text = (tmp_path / LOCK_NAME).read_text()
    assert text.startswith(f"process {os.getpid()} on ")


def test_a_folder_is_held_until_the_block_ends_also_by_an_error(tmp_path):
    folder = tmp_path / "new" / "out"
    for _ in range(2):
        with pytest.raises(KeyError), hold_output_folder(folder):
            with pytest.raises(RuntimeError, match=str(os.getpid())):
                hold(folder)
            raise KeyError
    assert not run_folder._open_locks


def test_a_file_system_without_locks_is_warned_of(
    tmp_path, monkeypatch, caplog
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_output_folder(tmp_path):
        assert "cannot be locked (No locks available)" in caplog.text


@pytest.mark.parametrize("name", ["file", "file/out", "link", "x" * 300])
def test_what_cannot_be_a_folder_is_named(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    message = f"output_folder that can be written, got {tmp_path / name}: "
    with pytest.raises(OSError, match=message):
        hold(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("function", ["pwrite", "fsync", "open"])
def test_a_full_disk_is_named_before_training(tmp_path, monkeypatch, function):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(
        OSError, match=f"got {tmp_path}: No space left"
    ) as error:
        hold(tmp_path)
    assert error.value.errno == errno.ENOSPC


def test_files_of_ones_own_are_named_and_a_runs_are_not(tmp_path):
    assert find_foreign_files(tmp_path / "nowhere") == []
    for name in ("log.txt", ".hidden", "env.log"):
        (tmp_path / name).touch()
    (tmp_path / "save").mkdir()
    assert find_foreign_files(tmp_path) == []
    for name in ("d", "b", "a", "c"):
        (tmp_path / name).touch()
    names = find_foreign_files(tmp_path)
    text = describe_foreign_files(tmp_path, names)
    assert "no run's folder: a, b, c and 1 more are in it" in text
    (tmp_path / "hyperparams.yaml").touch()
    assert find_foreign_files(tmp_path) == []


def test_holding_a_folder_takes_no_time(tmp_path):
    start = time.perf_counter()
    with hold_output_folder(tmp_path):
        assert time.perf_counter() - start < 1
