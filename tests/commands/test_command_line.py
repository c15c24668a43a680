"""Claims about `ssps` itself: its start, its help, how it ends."""

import pathlib
import re

import click
import pytest

import ssps_plugin
from ssps_plugin.commands.command_line import ssps as group
from tests.commands.conftest import is_one_message

RECIPES = ("train", "verify")
COMMANDS = (
    *("train", "verify", "embed", "compare", "score", "export", "import"),
    *("report", "minivox", "convert", "recipes", "completion"),
)
# What takes more than a few milliseconds to import.
HEAVY = ("torch", "numpy", "speechbrain", "soundfile", "jinja2", "plotly")


def test_help_imports_nothing_heavy(program):
    code = (
        "import sys\n"
        "from ssps_plugin.commands.command_line import main\n"
        "status = main(['--help'])\n"
        f"heavy = [n for n in {HEAVY} if n in sys.modules]\n"
        "sys.exit(' '.join(heavy) or status)"
    )
    answer = program("-c", code)
    assert answer.status == 0, answer.err
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", answer.out, flags=re.M)


def test_the_package_alone_imports_nothing_heavy(program):
    code = f"import sys, ssps_plugin; print({HEAVY} & sys.modules.keys())"
    answer = program("-c", code.replace("('", "{'").replace("')", "'}"))
    assert answer.out.strip() == "set()", answer.err


def test_every_public_name_is_there_and_listed():
    assert set(ssps_plugin.__all__) == set(ssps_plugin._MODULE_OF)
    for name in ssps_plugin.__all__:
        assert getattr(ssps_plugin, name).__name__ == name
        assert name in dir(ssps_plugin)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ssps_plugin.Nothing  # noqa: B018


def test_every_command_is_listed():
    assert set(group.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(command, ssps):
    answer = ssps(command, "--help")
    assert answer.status == 0
    assert answer.err == ""
    assert answer.out.startswith(f"Usage: ssps {command} ")
    text = answer.out.partition("Options:")[0]
    assert re.search(rf"^ +.*ssps {command} \S", text, flags=re.M), text


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(RECIPES)))
def test_every_option_is_described(command):
    for option in group.commands[command].params:
        if isinstance(option, click.Option):
            assert option.help, option.name


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("train",),
        ("verify",),
        ("compare", "one.wav"),
        ("compare", "--model", "m", "a", "b", "c"),
        ("embed",),
        ("score",),
        ("export", "run"),
        ("export", "run", "folder", "--private"),
        ("report",),
        ("minivox", "folder", "--seed", "x"),
        ("convert", "source", "target", "--format", "mp3"),
        ("completion", "tcsh"),
        ("embed", "--nothing"),
    ],
)
def test_a_wrong_usage_ends_with_two(arguments, ssps):
    answer = ssps(*arguments)
    assert answer.status == 2
    assert answer.out == ""
    assert "Usage: ssps" in answer.err
    assert "Traceback" not in answer.err


def test_a_fault_is_one_message_and_ends_with_one(ssps, tmp_path):
    answer = ssps("compare", tmp_path, "a.wav", "b.wav")
    assert answer.status == 1
    assert answer.out == ""
    assert is_one_message(answer.err)


@pytest.mark.parametrize("place", [0, 1])
def test_debug_shows_the_traceback(place, ssps, tmp_path):
    arguments = ["compare", tmp_path, "a.wav", "b.wav"]
    arguments.insert(place, "--debug")
    with pytest.raises(FileNotFoundError, match="output folder of a run"):
        ssps(*arguments)


def test_the_debug_of_a_recipe_is_passed_on(ssps):
    with pytest.raises(FileNotFoundError, match=r"got no\.yaml"):
        ssps("train", "no.yaml", "--debug")


def test_options_may_be_written_as_in_recipes(ssps, tmp_path):
    folder = tmp_path / "corpus"
    answer = ssps("minivox", folder, "--num_speakers", "0")
    assert answer.status == 1
    assert "num_speakers" in answer.err
    assert not folder.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell, ssps):
    answer = ssps("completion", shell)
    assert answer.status == 0
    assert f"_SSPS_COMPLETE={shell}_complete" in answer.out


@pytest.mark.parametrize(
    "typed, wanted",
    [
        ("ssps exp", ["export"]),
        ("ssps train simclr", ["simclr", "simclr_ssps"]),
        ("ssps train simclr --see", ["--seed"]),
        ("ssps train simclr --seed 1 --warm", ["--warm_start_from"]),
        ("ssps embed --over", ["--overwrite"]),
    ],
)
def test_words_are_completed(typed, wanted, program):
    words = len(typed.split()) - 1
    answer = program(
        "-c",
        "import sys; sys.argv[0] = 'ssps'\n"
        "from ssps_plugin.commands.command_line import main; main()",
        _SSPS_COMPLETE="bash_complete",
        COMP_WORDS=typed,
        COMP_CWORD=str(words),
    )
    found = [line.partition(",")[2] for line in answer.out.splitlines()]
    assert found == wanted, answer.err


def test_the_module_is_the_command(program):
    answer = program("-m", "ssps_plugin", "recipes", "--path")
    assert answer.status == 0
    assert pathlib.Path(answer.out.strip(), "recipes").is_dir()
    answer = program("-m", "ssps_plugin", "nothing")
    assert answer.status == 2
    assert "Usage: python -m ssps_plugin" in answer.err
