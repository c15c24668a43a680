"""Embeddings of audio files, in a file."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ssps_plugin.commands.model import load_encoder, model_options, split_model

if TYPE_CHECKING:
    from torch import Tensor

    from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder

# As verification has it: most audio in a batch.
_BATCH_SECONDS = 100.0
_NUM_THREADS = 8
_NUM_SHOWN = 3


class Embedded(NamedTuple):
    """Embeddings by name, and the files that have none.

    Arguments
    ---------
    names : list of str
        Keys of the rows.
    embeddings : torch.Tensor
        `(names, dim)` float32.
    failed : dict of str to str
        Files that cannot be embedded, and why.
    """

    names: list[str]
    embeddings: Tensor
    failed: dict[str, str]


@click.command(short_help="Embed files or a folder: .npz, .csv or Kaldi .ark.")
@click.argument(
    "arguments",
    nargs=-1,
    type=click.Path(),
    metavar="[MODEL] FILES_OR_FOLDER...",
)
@model_options
@click.option(
    "--output",
    "-o",
    default="embeddings.npz",
    type=click.Path(dir_okay=False),
    help="Its suffix says the format: .npz (arrays `names` and `embeddings`), "
    ".csv (a row a file: name, e0, e1, ...) or .ark (Kaldi's, with a .scp "
    "beside it).",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@click.option(
    "--skip-unreadable",
    is_flag=True,
    help="Exit with 0 although files could not be embedded.",
)
def embed(
    arguments: tuple[str, ...],
    model: str | None,
    weights: str | None,
    device: str | None,
    output: str,
    overwrite: bool,
    skip_unreadable: bool,
) -> int:
    """Embed audio files, each at its full length and any sample rate, and all
    audio below folders.

    MODEL is the folder of a run or of an export. The embeddings are those of
    verify, not scaled to norm 1: compare them by their cosine. A file's name in
    the output is its path below the folder that is given (or as it is given,
    for files and for several folders). Files that cannot be embedded are named,
    the others are embedded, and the exit status is 1.

    \b
    Example:
      ssps embed results/simclr_ssps/1986 corpus/wav -o corpus.npz
      ssps embed -m EXPORT A.wav B.flac -o pair.csv
    \b
    Then, in Python:
      table = numpy.load("corpus.npz")
      table["names"], table["embeddings"]  # (n,) and (n, dim)
    """
    from ssps_plugin.commands.embedding_files import check_output

    model, inputs = split_model(arguments, model)
    if not inputs:
        raise click.UsageError(
            "Expected audio files or a folder, got none: ssps embed [MODEL] "
            "FILES_OR_FOLDER"
        )
    target = pathlib.Path(output)
    write = check_output(target, overwrite)
    files = find_audio(inputs)
    encoder = load_encoder(model, weights, device)
    found = embed_files(encoder, files)
    for name, reason in found.failed.items():
        click.echo(f"Not embedded: {name}: {reason}", err=True)
    if not found.names:
        raise RuntimeError(
            f"Expected audio that can be embedded, got none in {len(files)} "
            "files: see above."
        )
    write(target, found.names, found.embeddings.numpy())
    click.echo(
        f"Embedded {len(found.names)} of {len(files)} files into {target}."
    )
    return 1 if found.failed and not skip_unreadable else 0


def find_audio(inputs: tuple[str, ...]) -> dict[str, str]:
    """Find the audio files that are given, and those below folders.

    Arguments
    ---------
    inputs : tuple of str
        Files and folders.

    Returns
    -------
    dict of str to str
        Paths by name. Of one folder, names are relative to it; else they are
        the paths.

    Raises
    ------
    FileNotFoundError
        A path is not there, or a folder has no audio.
    """
    from ssps_plugin.dataio.corpus.folders import select_audio, walk_folders

    missing = [path for path in inputs if not pathlib.Path(path).exists()]
    if missing:
        more = len(missing) - _NUM_SHOWN
        raise FileNotFoundError(
            "Expected audio files or folders, got what is not there: "
            f"{', '.join(missing[:_NUM_SHOWN])}"
            f"{f' and {more} more' if more > 0 else ''}."
        )
    files: dict[str, str] = {}
    for given in inputs:
        if not pathlib.Path(given).is_dir():
            files[given] = given
            continue
        below = [
            f"{folder}{name}"
            for folder, names in walk_folders(given)
            for name in select_audio(names)
        ]
        if not below:
            raise FileNotFoundError(
                f"Expected audio below {given}, got none that can be read "
                "(.wav, .flac, .ogg, .mp3 ...): change the folder, or convert "
                "it by ssps convert."
            )
        for name in sorted(below):
            path = str(pathlib.Path(given, name))
            files[name if len(inputs) == 1 else path] = path
    return files


def embed_files(encoder: SpeakerEncoder, files: dict[str, str]) -> Embedded:
    """Embed files, batches of one length at a time; leave out what fails.

    Arguments
    ---------
    encoder : SpeakerEncoder
        What embeds.
    files : dict of str to str
        Paths by name.

    Returns
    -------
    Embedded
        Rows in the order of the names.

    Raises
    ------
    RuntimeError
        No embedding is finite, so that the model is at fault.
    """
    import torch

    from ssps_plugin.dataio.audio import SAMPLE_RATE, AudioError, read_audio
    from ssps_plugin.evaluation.embeddings import (
        MAX_SECONDS,
        extract_embeddings,
    )
    from ssps_plugin.pretrained.speaker_encoder import SHORTEST_SECONDS
    from ssps_plugin.progress import is_terminal

    rate = encoder.sample_rate
    shortest = round(SHORTEST_SECONDS * rate)
    seconds, failed = _measure(files)
    names = [name for name in files if name not in failed]
    name_of = {files[name]: name for name in names}

    def read(path: Any, *stretch: float) -> Tensor:
        # A file that fails only here must not cost the others theirs.
        try:
            wav = read_audio(path, *stretch, sample_rate=rate)
        except AudioError as error:
            failed[name_of[path]] = str(error)
            wav = torch.zeros(0)
        return wav if len(wav) >= shortest else torch.zeros(shortest)

    if not names:
        return Embedded([], torch.empty(0, 0), failed)
    embeddings = extract_embeddings(
        encoder,
        [files[name] for name in names],
        batch_seconds=_BATCH_SECONDS * rate / SAMPLE_RATE,
        device=encoder.device,
        read=read,
        seconds=lambda path: seconds[name_of[str(path)]],
        progress=is_terminal(),
        max_seconds=MAX_SECONDS,
    )
    is_finite = embeddings.isfinite().all(1).tolist()
    if not any(is_finite):
        raise RuntimeError(
            f"Expected finite embeddings, got none of {len(names)}: the model "
            "is at fault, take other --weights or another model."
        )
    for name, good in zip(names, is_finite, strict=True):
        if not good:
            failed.setdefault(name, "its embedding is not finite")
    rows = [row for row, name in enumerate(names) if name not in failed]
    in_order = {name: failed[name] for name in files if name in failed}
    return Embedded([names[row] for row in rows], embeddings[rows], in_order)


def _measure(files: dict[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the seconds of files by name, and what is wrong with others."""
    from concurrent.futures import ThreadPoolExecutor

    from ssps_plugin.dataio.audio import AudioError, check_audio
    from ssps_plugin.pretrained.speaker_encoder import SHORTEST_SECONDS
    from ssps_plugin.progress import is_terminal, progress_bar

    def measure(path: str) -> float | str:
        try:
            length = check_audio(path)
        except AudioError as error:
            return str(error)
        if length < SHORTEST_SECONDS:
            return (
                f"{length:.3f} s of audio, too short to embed (at least "
                f"{SHORTEST_SECONDS} s)"
            )
        return length

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        bar = progress_bar(
            threads.map(measure, files.values()),
            "Checking",
            len(files),
            "file",
            disable=not is_terminal(),
        )
        measured = dict(zip(files, bar, strict=True))
    seconds = {n: v for n, v in measured.items() if isinstance(v, float)}
    failed = {n: v for n, v in measured.items() if isinstance(v, str)}
    return seconds, failed
