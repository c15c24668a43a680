"""A page of runs: what SSPS did, to look at and to listen to."""

from __future__ import annotations

import click

from ssps_plugin.commands.model import quieten


@click.command(short_help="Make an HTML page of runs: curves, maps, pairs.")
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(), metavar="RUN..."
)
@click.option(
    "--output",
    "-o",
    default=None,
    type=click.Path(),
    help="The HTML file, or a folder for report.html; the folder of the first "
    "run if left out.",
)
@click.option("--png/--no-png", default=True, help="Charts as PNGs, too.")
@click.option(
    "--max-utterances",
    type=click.IntRange(min=0),
    default=None,
    help="Utterances of a run to embed, for similarities and the map: more "
    "take longer, 0 is none. 400 if left out, fewer by a large encoder on a "
    "CPU.",
)
@click.option(
    "--num-pairs",
    type=click.IntRange(min=0),
    default=12,
    help="Pairs to listen to.",
)
@click.option("--seed", default=0, help="Of what is chosen.")
@click.option("--device", default=None, help="Where to embed, such as cuda:0.")
def report(
    runs: tuple[str, ...],
    output: str | None,
    png: bool,
    max_utterances: int | None,
    num_pairs: int,
    seed: int,
    device: str | None,
) -> None:
    """Make one HTML file of the output folders RUN, for any browser and
    without a network: training curves, detection curves, scores before and
    after SSPS, similarities, a map of embeddings, cluster sizes, and pairs to
    listen to.

    It needs the extra report: pip install 'ssps_plugin[report]'.

    \b
    Example:
      ssps report results/simclr_ssps/1986
      ssps report results/simclr_ssps/1986 results/simclr/1986 -o report.html
    """
    quieten()
    from ssps_plugin.progress import is_terminal
    from ssps_plugin.report import write_report

    written = write_report(
        list(runs),
        output,
        png=png,
        max_utterances=max_utterances,
        num_pairs=num_pairs,
        seed=seed,
        device=device,
        progress=is_terminal(),
    )
    click.echo(f"The report is {written}.")
