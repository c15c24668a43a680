"""A run, and `ssps` called in this process or as a program of its own."""

import logging
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

from ssps_plugin.commands.command_line import main
from tests.recipes.corpora import write_corpus
from tests.recipes.running import own_process_environment, run


class Answer(NamedTuple):
    """What a command leaves: its exit status, and what it prints."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def finished(corpus, tmp_path_factory):
    """A finished run, where recipes write: results/<name>/<seed>."""
    output = tmp_path_factory.mktemp("work") / "results" / "simclr_ssps" / "1"
    run(
        "simclr_ssps.yaml",
        output,
        data_folder=corpus,
        false_acceptance_rate=0.1,
    )
    return output


@pytest.fixture
def ssps(capsys, monkeypatch):
    """Call `ssps` in this process; it leaves the loggers as they were."""
    handlers = logging.getLogger().handlers
    levels = [handler.level for handler in handlers]
    monkeypatch.setattr(sys, "argv", ["ssps"])
    monkeypatch.delenv("SSPS_MODEL", raising=False)
    monkeypatch.delenv("SSPS_DEBUG", raising=False)

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Answer(status, *capsys.readouterr())

    yield call
    for handler, level in zip(handlers, levels, strict=False):
        handler.setLevel(level)


@pytest.fixture
def program(tmp_path):
    """Call a Python program on this code, in a folder of its own."""

    def call(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=environment.pop("cwd", tmp_path),
            env={**own_process_environment(), "COLUMNS": "80", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


def is_one_message(err):
    """Whether standard error holds one message and no traceback."""
    assert "Traceback" not in err
    return err.startswith("Error: Expected") and err.count("Error:") == 1


def utterances(corpus: pathlib.Path, *speakers: int) -> list[str]:
    """The first utterance of speakers."""
    return [
        os.fspath(corpus / "wav" / f"id{n:03d}" / "rec0" / "00000.wav")
        for n in speakers
    ]
