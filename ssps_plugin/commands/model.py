"""Which encoder a command uses: a run's, an export's, the newest run's."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder

Function = TypeVar("Function", bound=Callable[..., Any])

#: Names the model where a command line does not.
MODEL_VARIABLE = "SSPS_MODEL"

_CONFIGURATION = "hyperparams.yaml"
# Where recipes write, as hparams/*.yaml say.
_RESULTS = "results"


def model_options(function: Function) -> Function:
    """Add the options that say which encoder, which weights, and where."""
    options = (
        click.option(
            "--model",
            "-m",
            metavar="RUN_OR_EXPORT",
            help="Output folder of a run, or an export; without it the "
            f"variable {MODEL_VARIABLE}, else the newest run in {_RESULTS}/.",
        ),
        click.option(
            "--weights",
            default=None,
            metavar="WHICH",
            help="Of a run: averaged (over the last epochs, the default), "
            "best, last, or the number of an epoch that was kept.",
        ),
        click.option(
            "--device",
            default=None,
            help="Such as cpu or cuda:0; a GPU if there is one.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def split_model(
    arguments: tuple[str, ...],
    model: str | None,
    num_files: int | None = None,
) -> tuple[str | None, tuple[str, ...]]:
    """Take the first argument for the model, if it is a folder of one.

    Arguments
    ---------
    arguments : tuple of str
        `[RUN_OR_EXPORT] FILE ...`.
    model : str or None
        What `--model` gives: then all arguments are files.
    num_files : int, optional
        How many files there must be: with one argument more, the first is the
        model, whatever it is.

    Returns
    -------
    tuple
        The model, None if there is none, and the other arguments.
    """
    if len(arguments) - 1 == num_files:
        if model is not None:
            return model, arguments  # one too many
        return arguments[0], arguments[1:]
    if model is None and arguments and is_model(arguments[0]):
        return arguments[0], arguments[1:]
    return model, arguments


def is_model(path: str) -> bool:
    """Whether a path is the folder of a run or an export, or its YAML."""
    folder = pathlib.Path(path)
    if folder.name == _CONFIGURATION:
        return folder.is_file()
    return (folder / _CONFIGURATION).is_file()


def load_encoder(
    model: str | None, weights: str | None, device: str | None
) -> SpeakerEncoder:
    """Load the encoder of a run or an export.

    Raises
    ------
    FileNotFoundError
        There is none; the message says where runs are.
    ValueError
        Weights are asked for by name, of an export.
    """
    quieten()
    from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder

    model = model or os.environ.get(MODEL_VARIABLE)
    folder = pathlib.Path(model) if model else find_newest_run()
    return SpeakerEncoder.from_folder(folder, weights=weights, device=device)


def find_newest_run() -> pathlib.Path:
    """Find the run below `results/` that was trained last.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    runs = [
        path.parent
        for path in pathlib.Path(_RESULTS).glob(f"*/*/{_CONFIGURATION}")
        if (path.parent / "save").is_dir()
    ]
    if not runs:
        raise FileNotFoundError(
            "Expected a model, the folder of a run or an export, got none, and "
            f"no run in {pathlib.Path(_RESULTS).absolute()}: give --model."
        )
    newest = max(runs, key=lambda run: (run / "save").stat().st_mtime_ns)
    click.echo(f"The model is {newest}, the newest run here.", err=True)
    return newest


def quieten() -> None:
    """Keep notes off the screen that are of no use beside a result."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # Loggers of SpeechBrain have levels of their own, which pass the root's.
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.WARNING)
