"""Weights out and in: export a run, bring in foreign weights."""

from __future__ import annotations

import pathlib

import click

from ssps_plugin.commands.model import quieten

ONNX_FILE = "speaker_encoder.onnx"
TORCH_FILE = "speaker_encoder.pt2"


@click.command(short_help="Export a run to a folder that SpeechBrain loads.")
@click.argument("run", type=click.Path())
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--weights",
    default="averaged",
    metavar="WHICH",
    help="averaged (over the last epochs, as the results are), best, last, or "
    "the number of an epoch that was kept.",
)
@click.option("--overwrite", is_flag=True, help="Replace an export in FOLDER.")
@click.option(
    "--onnx",
    is_flag=True,
    help=f"Also write {ONNX_FILE}, from the waveform to the embedding.",
)
@click.option(
    "--torch-export",
    is_flag=True,
    help=f"Also write {TORCH_FILE}, a program of torch.export.",
)
@click.option(
    "--push-to-hub",
    "repository",
    metavar="NAME/MODEL",
    default=None,
    help="Also push FOLDER to the Hugging Face hub. Nothing is sent anywhere "
    "without this option.",
)
@click.option(
    "--private", is_flag=True, help="Of a repository that is made: private."
)
def export(
    run: str,
    folder: str,
    weights: str,
    overwrite: bool,
    onnx: bool,
    torch_export: bool,
    repository: str | None,
    private: bool,
) -> None:
    """Export the encoder of RUN (the output folder of a run) to FOLDER, which
    plain SpeechBrain loads without this package: weights, a model card with
    the error rates and thresholds, and what describes the model.

    \b
    Example:
      ssps export results/simclr_ssps/1986 my_model
      ssps export results/simclr_ssps/1986 my_model --weights best --onnx
    \b
    Then, in Python:
      from speechbrain.inference.speaker import SpeakerRecognition
      model = SpeakerRecognition.from_hparams(source="my_model")
      score, _ = model.verify_files("A.wav", "B.wav")
    """
    if private and repository is None:
        raise click.UsageError("Expected --private with --push-to-hub only.")
    quieten()
    from ssps_plugin.pretrained.export import export_run

    if onnx:  # before anything is written
        from ssps_plugin.pretrained.onnx_export import check_onnx_installed

        check_onnx_installed()
    written = export_run(run, folder, weights=weights, overwrite=overwrite)
    files = _write_programs(written, onnx, torch_export)
    also = f", with {' and '.join(files)}" if files else ""
    click.echo(f"The model is in {written}{also}.")
    if repository is not None:
        from ssps_plugin.pretrained.hub import push_to_hub

        address = push_to_hub(written, repository, private=private)
        click.echo(f"Pushed to {address}.")


@click.command("import", short_help="Bring in weights of other toolkits.")
@click.argument("source", type=click.Path())
@click.argument("folder", type=click.Path(file_okay=False))
@click.option(
    "--front-end",
    type=click.Choice(["auto", "speechbrain", "authors"]),
    default="auto",
    help="The features that the weights were trained on; auto: those of the "
    "toolkit that the names of the weights are of.",
)
@click.option(
    "--prefix",
    default=None,
    help="What the names of the encoder's weights begin with, where it cannot "
    "be found out.",
)
@click.option("--overwrite", is_flag=True, help="Replace an export in FOLDER.")
def import_(
    source: str,
    folder: str,
    front_end: str,
    prefix: str | None,
    overwrite: bool,
) -> None:
    """Bring in the weights at SOURCE, and write them to FOLDER as an export:
    what embed, compare and score take, and plain SpeechBrain, too.

    SOURCE is a SpeechBrain embedding_model.ckpt or its folder, the authors'
    .pt, a run, a snapshot or an export. There is no threshold until trials are
    scored. To start a training from SOURCE, nothing need be brought in: ssps
    train YAML --warm_start_from SOURCE.

    \b
    Example:
      ssps import spkrec-ecapa-voxceleb my_model
      ssps compare my_model A.wav B.wav
    """
    quieten()
    from ssps_plugin.pretrained import import_weights

    written = import_weights(
        source,
        folder,
        prefix=prefix,
        front_end=front_end,
        overwrite=overwrite,
    )
    click.echo(f"The model is in {written}.")


def _write_programs(
    folder: pathlib.Path, onnx: bool, torch_export: bool
) -> list[str]:
    """Write what runs without Python code of the model; return the names."""
    files = []
    if onnx or torch_export:
        from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder

        encoder = SpeakerEncoder.from_export(folder, device="cpu")
    if onnx:
        from ssps_plugin.pretrained import export_onnx

        export_onnx(encoder, folder / ONNX_FILE)
        files.append(ONNX_FILE)
    if torch_export:
        from ssps_plugin.pretrained import export_torch

        export_torch(encoder, folder / TORCH_FILE)
        files.append(TORCH_FILE)
    return files
