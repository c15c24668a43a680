"""Corpora: make MiniVox, convert compressed audio."""

from __future__ import annotations

import logging
from typing import Any

import click


@click.command(short_help="Make MiniVox, a small synthetic corpus.")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--num-speakers", default=130, help="Speakers in all.")
@click.option(
    "--num-trial-speakers",
    default=30,
    help="How many of them, the last ones, are for the trials only.",
)
@click.option("--num-recordings", default=12, help="Recordings per speaker.")
@click.option("--num-utterances", default=3, help="Utterances per recording.")
@click.option("--min-seconds", default=2.0, help="Of an utterance.")
@click.option("--max-seconds", default=3.0, help="Of an utterance.")
@click.option(
    "--num-trials", default=10000, help="Half of them of one speaker."
)
@click.option("--seed", default=1, help="Of everything.")
@click.option(
    "--num-jobs",
    type=int,
    default=None,
    help="Processes; as many as there are cores if left out.",
)
def minivox(folder: str, **settings: Any) -> None:
    """Make MiniVox, a synthetic corpus in VoxCeleb's layout, in FOLDER.

    Speaker and recording are independent, as in the problem that positive
    sampling solves. The same settings give the same bytes. It needs the extra
    demo: pip install 'ssps_plugin[demo]'.

    \b
    Example:
      ssps minivox data/minivox --num-speakers 40 --num-trial-speakers 10
      ssps train simclr_ssps --data_folder data/minivox \\
          --overlay hparams/minivox.yaml
    """
    from ssps_plugin.simulation import make_minivox

    log_progress()
    made = make_minivox(folder, **settings)
    click.echo(f"MiniVox is in {made}.")


@click.command(short_help="Convert a corpus of .m4a files to FLAC or WAV.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "--format",
    type=click.Choice(["flac", "wav"]),
    default="flac",
    help="flac takes half the room.",
)
@click.option("--sample-rate", default=16000, help="Of what is written, in Hz.")
@click.option(
    "--num-threads",
    type=int,
    default=None,
    help="Files at a time; as many as there are cores if left out.",
)
def convert(source: str, target: str, **options: Any) -> int:
    """Convert the compressed audio below SOURCE (.m4a, .mp4, .aac ...) into
    TARGET, which gets the same folders and may be SOURCE itself.

    What is there already is kept: a conversion that was stopped goes on. Files
    that cannot be converted are named in TARGET/not_converted.txt, and the exit
    status is 1. It needs ffmpeg, or the extra m4a: pip install
    'ssps_plugin[m4a]'.

    \b
    Example:
      ssps convert VOXCELEB2/dev/aac VOXCELEB2/dev/wav --format wav
    """
    from ssps_plugin.dataio.convert import convert_folder

    log_progress()
    return 1 if convert_folder(source, target, **options).failed else 0


def log_progress() -> None:
    """Print what the package logs to standard error, as sentences."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
