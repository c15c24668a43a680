"""Claims about files that may not answer."""

import os
import time

import pytest

from ssps_plugin.dataio import safe_reading
from ssps_plugin.dataio.safe_reading import check_regular_file, warn_if_slow


@pytest.fixture
def warnings_of(monkeypatch):
    seen = []
    monkeypatch.setattr(safe_reading, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(safe_reading, "_reported", set())
    safe_reading._watchers.forget()
    monkeypatch.setattr(
        safe_reading.logger,
        "warning",
        lambda text, *args: seen.append(text % args),
    )
    return seen


def test_a_regular_file_passes_with_its_size(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert check_regular_file(tmp_path / "link").st_size == 3


def test_anything_else_is_an_error_that_says_what_it_is(tmp_path):
    with pytest.raises(OSError, match="got a folder at"):
        check_regular_file(tmp_path)
    with pytest.raises(OSError, match="got a character device at /dev/zero"):
        check_regular_file("/dev/zero")
    with pytest.raises(FileNotFoundError, match="gone"):
        check_regular_file(tmp_path / "gone")


def test_a_read_that_takes_too_long_is_named_once_while_it_takes(warnings_of):
    for _ in range(2):
        with warn_if_slow("stuck.wav"):
            deadline = time.monotonic() + 10
            while not warnings_of and time.monotonic() < deadline:
                time.sleep(0.01)
    (warning,) = warnings_of
    assert "stuck.wav" in warning and "does not answer" in warning


def test_quick_reads_are_not_named_however_many(warnings_of):
    ended = time.monotonic() + 0.3
    while time.monotonic() < ended:
        with warn_if_slow("quick.wav"):
            time.sleep(0.001)
    assert warnings_of == []


def test_a_forked_process_watches_its_own_reads(warnings_of):
    with warn_if_slow("parents.wav"):
        child = os.fork()
        if child == 0:
            with warn_if_slow("forked.wav"):
                time.sleep(0.4)
            named = [text.split()[1] for text in warnings_of]
            os._exit(0 if named == ["forked.wav"] else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_it_costs_next_to_nothing(tmp_path):
    number = 10_000
    started = time.perf_counter()
    for _ in range(number):
        with warn_if_slow("a.wav"):
            pass
    assert (time.perf_counter() - started) / number < 50e-6


def test_a_fifo_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="FIFO"):
        check_regular_file(tmp_path / "pipe")
