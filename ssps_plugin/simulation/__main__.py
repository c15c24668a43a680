"""Command line: `python -m ssps_plugin.simulation minivox OUT`."""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ssps_plugin.simulation.minivox import make_minivox
from ssps_plugin.simulation.real_speech import simulate_recordings

_COMMANDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "minivox": (make_minivox, ("folder",)),
    "recordings": (simulate_recordings, ("clean_folder", "folder")),
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, with an option for each argument of the functions.

    Returns
    -------
    argparse.ArgumentParser
        With the commands `minivox` and `recordings`.

    Example
    -------
    >>> build_parser().parse_args(["minivox", "out", "--seed", "3"]).seed
    3
    """
    parser = argparse.ArgumentParser(
        prog="python -m ssps_plugin.simulation",
        description="Make speech corpora with simulated recordings.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, (function, positional) in _COMMANDS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        subparser = commands.add_parser(
            command, help=summary, description=summary, allow_abbrev=False
        )
        _add_arguments(subparser, function, positional)
    return parser


def _add_arguments(
    parser: argparse.ArgumentParser,
    function: Callable[..., Any],
    positional: tuple[str, ...],
) -> None:
    for name, parameter in inspect.signature(function).parameters.items():
        if name in positional:
            parser.add_argument(name)
            continue
        default = parameter.default
        parser.add_argument(
            f"--{name}",
            # Only num_jobs has a default that says nothing about its type.
            type=int if default is None else type(default),
            default=default,
            help="default: %(default)s",
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of a command line.

    Arguments
    ---------
    arguments : sequence of str, optional
        The command line, by default that of the process.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = vars(build_parser().parse_args(arguments))
    function = _COMMANDS[options.pop("command")][0]
    function(**options)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, RuntimeError, OSError) as mistake:
        sys.exit(f"Error: {mistake}")
