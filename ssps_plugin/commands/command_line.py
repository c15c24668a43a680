"""The command line of `ssps`: its commands, and how it starts and ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

import ssps_plugin
from ssps_plugin.commands.compare import compare
from ssps_plugin.commands.completion import completion
from ssps_plugin.commands.corpora import convert, minivox
from ssps_plugin.commands.embed import embed
from ssps_plugin.commands.errors import DEBUG_VARIABLE, run_with_messages
from ssps_plugin.commands.export import export, import_
from ssps_plugin.commands.recipe import train, verify
from ssps_plugin.commands.recipes import recipes
from ssps_plugin.commands.report import report
from ssps_plugin.commands.score import score

PROGRAM = "ssps"
_VERSIONS_SHOWN = ("torch", "torchaudio", "speechbrain", "hyperpyyaml", "numpy")
# In the order of use: the help lists them so.
_COMMANDS: tuple[click.Command, ...] = (
    *(train, verify, report),
    *(compare, embed, score),
    *(export, import_),
    *(minivox, convert, recipes, completion),
)


class _OrderedGroup(click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _with_dashes(name: str) -> str:
    """Take `--num_speakers` for `--num-speakers`, as recipes write it."""
    return name.replace("_", "-")


@click.group(
    cls=_OrderedGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": _with_dashes,
        "show_default": True,
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: _show_versions(context, wanted),
    help="Show versions, for a report of a bug, and exit.",
)
@click.option(
    "--debug",
    is_flag=True,
    help=f"Show the traceback of an error ({DEBUG_VARIABLE}=1 does, too).",
)
def ssps(debug: bool) -> None:
    """Speaker embeddings trained without labels (Self-Supervised Positive
    Sampling): train an encoder, use it, hand it on.

    \b
    Try it, on a small corpus that it makes (5 minutes on a laptop):
      ssps train simclr_ssps
      ssps report results/simclr_ssps/1986
      ssps compare A.wav B.wav

    \b
    Train on VoxCeleb, or any corpus laid out like it:
      ssps train simclr_ssps --data_folder VOXCELEB2/dev \\
          --trials_folder VOXCELEB1

    ssps COMMAND --help says more, with examples.
    """


for _command in _COMMANDS:
    ssps.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ssps`.

    Arguments
    ---------
    arguments : sequence of str, optional
        The command line, by default that of the process.

    Returns
    -------
    int
        The exit status: 0, 1 after an error, 2 after a wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Before or after the command: the group has read it when it is run.
    debug = "--debug" in given
    passed_on = _takes_debug_itself(given)
    if debug and not passed_on:
        given = [one for one in given if one != "--debug"]

    def run() -> Any:
        return ssps.main(
            given, prog_name=_program_name(), standalone_mode=False
        )

    return run_with_messages(run, debug)


def _takes_debug_itself(arguments: Sequence[str]) -> bool:
    """Whether `--debug` is a recipe's: SpeechBrain has an option so called."""
    commands = [one for one in arguments if not one.startswith("-")]
    return bool(commands) and commands[0] in ("train", "verify")


def _show_versions(context: click.Context, wanted: bool) -> None:
    """Print the versions that matter, read without importing anything."""
    if not wanted or context.resilient_parsing:
        return
    import importlib.metadata
    import platform

    click.echo(f"ssps_plugin {ssps_plugin.__version__}")
    click.echo(f"Python {platform.python_version()}, {platform.platform()}")
    for name in _VERSIONS_SHOWN:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        click.echo(f"{name} {version}")
    context.exit()


def _program_name() -> str:
    if sys.argv[0].endswith("__main__.py"):
        return "python -m ssps_plugin"
    return PROGRAM
