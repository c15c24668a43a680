"""A recipe run as a command: by `ssps train`, or by its own file."""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from ssps_plugin.commands.errors import run_with_messages, wants_traceback
from ssps_plugin.commands.installed_files import (
    TRAINING,
    VERIFICATION,
    find_hparams,
    find_recipe,
    list_hparams,
)
from ssps_plugin.commands.recipe_help import (
    HELP_OPTIONS,
    docstring_of,
    hparams_place,
    read_yaml_keys,
    recipe_help,
)

Main = Callable[[list[str]], object]


class _RecipeCommand(click.Command):
    """A command whose options are the keys of the YAML that it is given."""

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a key of the YAML."""
        given = ctx.params.get("arguments") or ctx.args or []
        files = [one for one in given if not one.startswith("-")]
        path = pathlib.Path(find_hparams(files[0])) if files else None
        if path is None or not path.is_file() or incomplete[:1] != "-":
            return super().shell_complete(ctx, incomplete)
        names = [f"--{key.name}" for key in read_yaml_keys(path)]
        return [
            CompletionItem(name)
            for name in names
            if name.startswith(incomplete)
        ]


_PASSED_ON: dict[str, Any] = {
    "cls": _RecipeCommand,
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True},
}


def run_recipe(
    main: Main, arguments: Sequence[str], program: str | None = None
) -> int:
    """Run the main function of a recipe; an error is one message.

    Arguments
    ---------
    main : callable
        `main(argv)`, in a module whose docstring says what it does.
    arguments : sequence of str
        The command line after the program's name.
    program : str, optional
        How the recipe was called, for its help; as a Python file if left out.

    Returns
    -------
    int
        The exit status.
    """
    arguments = list(arguments)

    def run() -> object:
        if any(argument in HELP_OPTIONS for argument in arguments):
            about = sys.modules[main.__module__].__doc__ or ""
            called = f"python {sys.argv[0]}" if program is None else program
            click.echo(recipe_help(called, about, arguments))
            return 0
        return main(arguments)

    return run_with_messages(run, wants_traceback(arguments))


def run_recipe_file(name: str, arguments: Sequence[str], program: str) -> int:
    """Run a recipe that lies beside the package, or was installed with it.

    It is the same code as `python recipes/voxceleb/train_ssl.py`: the file is
    imported, as if its folder was the working folder of Python, and its `main`
    is called.

    Arguments
    ---------
    name : str
        `TRAINING` or `VERIFICATION`.
    arguments : sequence of str
        The command line. Its YAML file may be a short name.
    program : str
        How the recipe was called.

    Returns
    -------
    int
        The exit status.
    """
    path = find_recipe(name)
    arguments = _with_hparams_found(arguments)
    # What a recipe shows as its command must be one.
    sys.argv = [_shown_path(path), *arguments]
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    if any(argument in HELP_OPTIONS for argument in arguments):
        # Before the recipe is imported, which takes seconds.
        about = docstring_of(path)
        return run_with_messages(
            lambda: click.echo(recipe_help(program, about, arguments))
        )
    recipe = importlib.import_module(path.stem)
    return run_recipe(recipe.main, arguments, program)


def _with_hparams_found(arguments: Sequence[str]) -> list[str]:
    """Replace the YAML file by the installed one that it is short for."""
    found = list(arguments)
    place = hparams_place(found)
    if place is not None:
        found[place] = find_hparams(found[place])
    return found


def _shown_path(path: pathlib.Path) -> str:
    """Return a path, relative where it is below the working folder."""
    try:
        return str(path.relative_to(pathlib.Path.cwd()))
    except ValueError:
        return str(path)


def complete_hparams(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the short name or the file of a YAML file."""
    if context.params.get("arguments"):
        return [CompletionItem(incomplete, type="file")]
    try:
        names = list_hparams()
    except FileNotFoundError:
        names = []
    items = [CompletionItem(n) for n in names if n.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


@click.command(
    **_PASSED_ON, short_help="Train an encoder, with or without SSPS."
)
@click.argument(
    "arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="YAML [--KEY VALUE ...]",
    shell_complete=complete_hparams,
)
@click.pass_context
def train(context: click.Context, arguments: tuple[str, ...]) -> int:
    """Train an encoder, as python recipes/voxceleb/train_ssl.py does."""
    return _run(context, TRAINING, arguments)


@click.command(**_PASSED_ON, short_help="Score trial lists with a trained run.")
@click.argument(
    "arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="YAML [--KEY VALUE ...]",
    shell_complete=complete_hparams,
)
@click.pass_context
def verify(context: click.Context, arguments: tuple[str, ...]) -> int:
    """Verify a run, as python recipes/voxceleb/verify.py does."""
    arguments = tuple(_with_runs_found(arguments))
    return _run(context, VERIFICATION, arguments)


def _with_runs_found(arguments: Sequence[str]) -> list[str]:
    """Replace the folder of a run by its saved configuration."""
    found = list(arguments)
    place = hparams_place(found)
    if place is not None:
        saved = pathlib.Path(found[place], "hyperparams.yaml")
        if saved.is_file():
            found[place] = str(saved)
    return found


def _run(context: click.Context, name: str, arguments: tuple[str, ...]) -> int:
    if not arguments:
        raise click.UsageError(
            f"Expected a YAML file, as in: {context.command_path} "
            "hparams/simclr_ssps.yaml",
            context,
        )
    return run_recipe_file(name, arguments, context.command_path)
