"""Claims about what a recipe prints."""

import io
import logging
import subprocess
import sys

import pytest

from ssps_plugin.evaluation.epoch_table import SPANS
from ssps_plugin.training.console import ConsoleHandler, log_to_console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def record(message, level=logging.INFO, name="ssps_plugin.x", **extra):
    one = logging.LogRecord(name, level, "x.py", 1, message, (), None)
    for key, value in extra.items():
        setattr(one, key, value)
    return one


def printed(stream, *records):
    handler = ConsoleHandler(stream)
    for one in records:
        handler.handle(one)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_or_a_pipe_gets_the_bare_text(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    line = record("  1/3  0.5 [bold]x[/]", **{SPANS: [(0, 3, "bold green")]})
    warning = record("No trials.", logging.WARNING)
    assert printed(io.StringIO(), line, warning) == (
        "  1/3  0.5 [bold]x[/]\nWarning: No trials.\n"
    )


def test_a_terminal_gets_colours_and_the_same_text():
    line = record("  1/3  0.5 [bold]x[/]", **{SPANS: [(0, 3, "bold green")]})
    text = printed(Terminal(), line, record("Careful.", logging.WARNING))
    assert "\x1b[1;32m  1\x1b[0m/3  0.5 [bold]x[/]\n" in text
    assert "\x1b[33mWarning: Careful.\x1b[0m\n" in text


def test_a_terminal_without_colours_gets_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(Terminal(), record("Careful.", logging.WARNING))
    assert "Warning: Careful." in text
    assert "\x1b[33m" not in text


def test_a_long_command_is_not_broken_on_a_terminal():
    command = "python train_ssl.py " + "--key value " * 30
    assert command in printed(Terminal(), record(command))


@pytest.mark.parametrize(
    "name",
    [
        "speechbrain",
        "speechbrain.core",
        "ssps_plugin.positive_sampler",
        "ssps_plugin.training.checkpoints",
    ],
)
def test_details_go_to_the_file_alone_but_their_warnings_do_not(name):
    text = printed(
        io.StringIO(),
        record("Gradscaler enabled", name=name),
        record("Coverage is low.", logging.WARNING, name=name),
        record("shown", name="ssps_plugin.training.brain"),
        record("shown, too", name="speechbrained"),
    )
    assert text == "Warning: Coverage is low.\nshown\nshown, too\n"


def test_an_error_shows_its_traceback():
    one = record("Exception:", logging.ERROR)
    try:
        raise ValueError("Expected a YAML file")
    except ValueError:
        one.exc_info = sys.exc_info()
    text = printed(io.StringIO(), one)
    assert text.startswith("Error: Exception:\nTraceback")
    assert text.endswith("ValueError: Expected a YAML file\n")


def test_a_console_takes_the_place_of_the_one_before():
    root, streams = logging.getLogger(), [io.StringIO(), io.StringIO()]
    before = root.handlers[:]
    try:
        for stream in streams:
            log_to_console(stream)
        logging.getLogger("ssps_plugin.x").warning("once")
    finally:
        root.handlers[:] = before
    assert [stream.getvalue() for stream in streams] == ["", "Warning: once\n"]


def test_importing_the_brain_prints_nothing():
    code = "import ssps_plugin.training.brain"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
