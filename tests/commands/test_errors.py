"""Claims about what is said of an error, and how a command then ends."""

import errno
import logging
import signal
import subprocess
import sys

import click
import pytest

from ssps_plugin.commands.errors import describe_error, run_with_messages
from tests.recipes.running import own_process_environment


def raising(error):
    def function():
        raise error

    return function


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("SSPS_DEBUG", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_a_message_of_ours_is_printed_as_it_is(capsys):
    error = ValueError("Expected a, got b: change c.")
    assert run_with_messages(raising(error)) == 1
    assert capsys.readouterr() == ("", "Error: Expected a, got b: change c.\n")


def test_another_error_says_its_kind_and_where_the_traceback_is():
    message = describe_error(RuntimeError("mat1 and mat2"))
    assert message.splitlines() == [
        "Error: RuntimeError: mat1 and mat2",
        "Set SSPS_DEBUG=1 to see the traceback.",
    ]
    assert describe_error(ValueError()).startswith("Error: ValueError()")


def test_what_the_system_refuses_is_named_with_its_file():
    error = PermissionError(errno.EACCES, "Permission denied", "/a/b.npz")
    assert describe_error(error) == "Error: Permission denied: /a/b.npz"


def test_under_torchrun_the_process_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = describe_error(ValueError("Expected a."))
    assert message == "Error in process 1: Expected a."


def test_the_variable_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("SSPS_DEBUG", "1")
    with pytest.raises(ValueError, match="Expected a"):
        run_with_messages(raising(ValueError("Expected a.")))
    monkeypatch.setenv("SSPS_DEBUG", "0")
    assert run_with_messages(raising(ValueError("Expected a."))) == 1


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_with_messages(lambda: 1 / 0)


def test_the_traceback_goes_to_the_log_and_not_to_the_screen(tmp_path, capsys):
    log = logging.FileHandler(tmp_path / "log.txt")
    logging.getLogger().addHandler(log)
    try:
        run_with_messages(raising(ValueError("Expected a.")))
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    text = (tmp_path / "log.txt").read_text()
    assert "Traceback (most recent call last)" in text
    assert text.rstrip().endswith("ValueError: Expected a.")
    assert "Traceback" not in capsys.readouterr().err


def test_the_status_of_a_function_is_returned():
    assert run_with_messages(lambda: 3) == 3
    assert run_with_messages(lambda: "text") == 0
    assert run_with_messages(raising(click.exceptions.Exit(4))) == 4


def test_an_exit_passes_with_its_status():
    # As of a run that a signal has stopped.
    with pytest.raises(SystemExit) as caught:
        run_with_messages(raising(SystemExit(143)))
    assert caught.value.code == 143


def run_code(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=own_process_environment(),
        text=True,
        stderr=subprocess.PIPE,
        timeout=60,
        **options,
    )


def test_an_interrupt_ends_as_ctrl_c_does():
    done = run_code(
        "import sys\n"
        "from ssps_plugin.commands.errors import run_with_messages\n"
        "def function(): raise KeyboardInterrupt\n"
        "sys.exit(run_with_messages(function))"
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr.strip() == "Interrupted."


CLOSED_PIPE = (
    "import os, sys\n"
    "from ssps_plugin.commands.command_line import main\n"
    "from ssps_plugin.commands.errors import run_with_messages\n"
    "reading, writing = os.pipe()\n"
    "os.close(reading)\n"
    "os.dup2(writing, 1)\n"
)


@pytest.mark.parametrize(
    "call",
    ["main(['--help'])", "run_with_messages(lambda: print('x', flush=True))"],
)
def test_a_pipe_that_is_closed_ends_quietly(call):
    done = run_code(f"{CLOSED_PIPE}sys.exit({call})")
    assert done.returncode != 0
    assert done.stderr == ""
