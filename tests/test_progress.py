"""Claims about the progress of long work, on a terminal and elsewhere."""

import io
import logging

import pytest

from ssps_plugin import progress
from ssps_plugin.progress import ProgressLines, is_terminal, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_no_bar_and_no_control_character(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    assert list(progress_bar(range(3), "Reading")) == [0, 1, 2]
    with progress_bar(total=3) as bar:
        bar.update(3)
    assert pipe.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress_bar(range(3), "Reading", unit="file")) == [0, 1, 2]
    drawn, _, wiped = terminal.getvalue().rstrip("\r").rpartition("\r")
    assert "Reading:   0%" in drawn and "3 [" in drawn
    assert not wiped.strip()  # nothing of it is left


def test_a_terminal_gets_none_where_progress_is_off(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress_bar(range(3), "Reading", disable=True)) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_a_stream_that_is_closed_or_absent_is_no_terminal():
    closed = io.StringIO()
    closed.close()
    assert is_terminal(Terminal())
    assert not is_terminal(closed)
    assert not is_terminal(object())


def test_long_work_logs_a_line_a_minute(clock, caplog):
    caplog.set_level(logging.INFO)
    lines = ProgressLines(None, "Reading", 10, "file", initial=2)
    for seconds in (30, 29.9, 0.1, 30, 30, 300):
        clock[0] += seconds
        lines.set_postfix_str("loss 1.5" if seconds == 300 else "")
        lines.update()
    assert [record.getMessage() for record in caplog.records] == [
        # 3 of 8 in a minute: 5 more take 100 seconds.
        "Reading: 5 of 10 files, 0:01:00 (about 0:01:40 left)",
        "Reading: 7 of 10 files, 0:02:00 (about 0:01:12 left)",
        "Reading: 8 of 10 files, 0:07:00 (about 0:02:20 left), loss 1.5",
    ]


def test_short_work_logs_nothing(clock, caplog):
    caplog.set_level(logging.INFO)
    assert list(ProgressLines("abc", "Reading")) == ["a", "b", "c"]
    assert not caplog.records


def test_work_without_an_end_has_no_time_left():
    lines = ProgressLines(iter("abc"), unit="file")
    assert list(lines) == ["a", "b", "c"]
    assert lines.describe(7.4) == "3 files, 0:00:07"
