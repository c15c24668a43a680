"""Are two recordings of one speaker?"""

from __future__ import annotations

import json
from typing import Any

import click

from ssps_plugin.commands.model import load_encoder, model_options, split_model


@click.command(short_help="Are two recordings of the same speaker?")
@click.argument("arguments", nargs=-1, type=click.Path(), metavar="[MODEL] A B")
@model_options
@click.option(
    "--threshold",
    default=None,
    metavar="NUMBER_OR_NAME",
    help="A score, or which of the model's thresholds: false_acceptance, eer, "
    "min_dcf_p01, min_dcf_p05. Its own if left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(
    arguments: tuple[str, ...],
    model: str | None,
    weights: str | None,
    device: str | None,
    threshold: str | None,
    as_json: bool,
) -> None:
    """Compare recordings A and B: the score (a cosine), the threshold of the
    model and how it was chosen, and yes or no.

    MODEL is the folder of a run or of an export. The exit status is 0 whether
    the answer is yes or no. Without a threshold (no trials were scored in
    training) there is a score and no answer.

    \b
    Example:
      ssps compare results/simclr_ssps/1986 A.wav B.wav
      ssps compare A.wav B.wav --model EXPORT --json
      ssps compare A.wav B.wav --threshold eer
    """
    model, files = split_model(arguments, model, num_files=2)
    if len(files) != 2:
        raise click.UsageError(
            f"Expected two recordings, got {len(files)}: ssps compare "
            "[MODEL] A.wav B.wav"
        )
    chosen = _parse_threshold(threshold)
    encoder = load_encoder(model, weights, device)
    found = encoder.compare(files[0], files[1], threshold=chosen)
    answer: dict[str, Any] = {
        "score": found.score,
        "threshold": found.threshold,
        "threshold_source": found.threshold_source,
        "same_speaker": found.same_speaker,
        "files": list(files),
    }
    if as_json:
        click.echo(json.dumps(answer))
        return
    shown = "none" if found.threshold is None else f"{found.threshold:.4f}"
    verdict = {True: "yes", False: "no", None: "unknown"}[found.same_speaker]
    click.echo(f"score         {found.score:.4f}")
    click.echo(f"threshold     {shown}")
    click.echo(f"chosen so     {found.threshold_source}")
    click.echo(f"same speaker  {verdict}")


def _parse_threshold(given: str | None) -> float | str | None:
    """Return a number, or the name of a threshold as Python writes it."""
    if given is None:
        return None
    try:
        return float(given)
    except ValueError:
        return given.replace("-", "_")
