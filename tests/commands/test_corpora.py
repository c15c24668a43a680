"""Claims about the commands that make and convert corpora."""

import inspect

import pytest

from ssps_plugin.commands.command_line import ssps as group
from ssps_plugin.dataio import convert
from ssps_plugin.simulation import make_minivox
from tests.commands.conftest import is_one_message


@pytest.mark.parametrize(
    "command, function",
    [("minivox", make_minivox), ("convert", convert.convert_folder)],
)
def test_options_are_the_arguments_of_the_function(command, function):
    parameters = inspect.signature(function).parameters
    options = {one.name: one for one in group.commands[command].params}
    options.pop("help", None)
    assert list(options) == list(parameters)
    for name, parameter in parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert options[name].default == parameter.default, name


def test_minivox_is_made(ssps, tmp_path, monkeypatch):
    made = {}
    monkeypatch.setattr(
        "ssps_plugin.simulation.make_minivox",
        lambda folder, **settings: made.update(settings) or folder,
    )
    answer = ssps("minivox", tmp_path / "m", "--seed", "3", "--min_seconds=1")
    assert answer.status == 0
    assert made["seed"] == 3
    assert made["min_seconds"] == 1.0
    assert str(tmp_path / "m") in answer.out


def test_minivox_needs_a_folder_of_its_own(ssps, tmp_path):
    (tmp_path / "mine.txt").touch()
    answer = ssps("minivox", tmp_path)
    assert answer.status == 1
    assert is_one_message(answer.err)


def test_a_conversion_without_a_corpus_is_a_message(ssps, tmp_path):
    answer = ssps("convert", tmp_path / "nowhere", tmp_path / "target")
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert not (tmp_path / "target").exists()


def test_a_conversion_ends_with_one_where_a_file_failed(
    ssps, tmp_path, monkeypatch
):
    (tmp_path / "a.m4a").write_bytes(b"no audio")

    def fail(path, sample_rate):
        raise ValueError("no audio stream")

    monkeypatch.setattr(convert, "choose_decoder", lambda: fail)
    answer = ssps("convert", tmp_path, tmp_path / "out")
    assert answer.status == 1
    assert "a.m4a" in (tmp_path / "out" / "not_converted.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "module, arguments",
    [
        ("ssps_plugin.simulation", ("minivox", "m", "--num_speakers", "0")),
        ("ssps_plugin.dataio.convert", ("nowhere", "target")),
    ],
)
def test_the_modules_have_messages_too(module, arguments, program):
    answer = program("-m", module, *arguments)
    assert answer.status == 1
    assert is_one_message(answer.err)
