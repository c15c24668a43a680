"""Scores of the trials in a list, and error rates where it has labels."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import click

from ssps_plugin.commands.model import load_encoder, model_options, split_model

_DOWNLOADS = "trials"


@click.command(short_help="Score the trials in a list.")
@click.argument(
    "arguments", nargs=-1, type=click.Path(), metavar="[MODEL] LIST"
)
@model_options
@click.option(
    "--folder",
    "-f",
    default=None,
    type=click.Path(),
    help="What the names in LIST start from; the folder of LIST if left out.",
)
@click.option(
    "--output",
    "-o",
    default=None,
    type=click.Path(dir_okay=False),
    help="File of scores, a line `score enrol test` a trial.  [default: "
    "<name of LIST>_scores.txt]",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of scores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def score(
    arguments: tuple[str, ...],
    model: str | None,
    weights: str | None,
    device: str | None,
    folder: str | None,
    output: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score every trial in LIST by the cosine of its two embeddings.

    A line of LIST is `label enrol test` (label 1: of one speaker, 0: not), or
    `enrol test` without labels. With labels, the EER and the minDCF are
    printed. LIST is a file, an http(s) address, or the name of one of
    VoxCeleb1's lists (voxceleb1-o, -e, -h).

    \b
    Example:
      ssps score results/simclr_ssps/1986 trials.txt --folder corpus/wav
      ssps score -m EXPORT voxceleb1-o -f VOXCELEB1 -o scores.txt
    """
    model, rest = split_model(arguments, model, num_files=1)
    if len(rest) != 1:
        raise click.UsageError(
            f"Expected one list of trials, got {len(rest)}: ssps score "
            "[MODEL] LIST"
        )
    target = pathlib.Path(output or _scores_name(rest[0]))
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"Expected no file at {target}, got one: give another --output, "
            "or --overwrite."
        )
    encoder = load_encoder(model, weights, device)
    results = _score(encoder, rest[0], folder, target)
    if as_json:
        click.echo(json.dumps(results))
        return
    _print_results(results)


def _scores_name(trials: str) -> str:
    name = trials.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"{pathlib.PurePath(name).stem or 'trials'}_scores.txt"


def _score(
    encoder: Any, trials: str, folder: str | None, target: pathlib.Path
) -> dict[str, Any]:
    """Embed and score a list, and write its scores."""
    from ssps_plugin.evaluation.results import (
        verification_results,
        write_scores,
    )
    from ssps_plugin.evaluation.trial_lookup import download_trial_list
    from ssps_plugin.evaluation.verification import Verification
    from ssps_plugin.progress import is_terminal

    searched = [] if folder is None else [folder]
    path = download_trial_list(trials, searched, _DOWNLOADS)
    names_from = path.parent if folder is None else folder
    verification = Verification(
        path, names_from, sample_rate=encoder.sample_rate
    )
    result = verification.run(encoder, encoder.device, progress=is_terminal())
    if result is None:  # under torchrun: the first process writes
        return {}
    write_scores(target, result.scores, verification.trials)
    found = verification_results(
        result.scores,
        verification.trials,
        trial_list=path,
        trial_list_sha256=verification.sha256,
    )
    shown = {
        key: value
        for key, value in found.items()
        if key.startswith(("trial_list", "num_", "eer", "min_dcf"))
    }
    shown["missing_labels"] = verification.missing_labels or None
    return {"scores": str(target), **shown}


def _print_results(results: dict[str, Any]) -> None:
    click.echo(f"scores   {results['scores']} ({results['num_trials']} trials)")
    if results["eer_percent"] is None:
        return
    click.echo(
        f"EER      {results['eer_percent']:.2f} % at a threshold of "
        f"{results['eer_threshold']:.4f}"
    )
    for name, p_target in (("min_dcf_p01", 0.01), ("min_dcf_p05", 0.05)):
        click.echo(f"minDCF   {results[name]:.4f} at p_target {p_target}")
