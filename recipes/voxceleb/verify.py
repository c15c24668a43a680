#!/usr/bin/env python3
"""Score trial lists with a trained encoder.

    python recipes/voxceleb/verify.py OUTPUT_FOLDER/hyperparams.yaml \
        --trials LIST --trials_folder FOLDER

A list has lines of `label enrol test`, names relative to the folder; it is a
file, an http(s) address or the name of one of VoxCeleb1's (`voxceleb1-e`).
Several, as `--trials "[LIST, LIST]"`, embed an utterance once. Without the two
keys, the trials of the training run are scored again. With
`--cohort_size 3000`, scores are normalised. Scores and `results.json` go to
`OUTPUT_FOLDER/verify/<name of the list>`. Under torchrun, the processes share
the embedding.
"""

import pathlib
import sys
from typing import Any

from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import (
    if_main_process,
    infer_device,
    run_on_main,
)
from speechbrain.utils.logger import setup_logging
from voxceleb_prepare import (
    load_cohort,
    load_verifications,
    prepare_trials,
    warn_of_trained_speakers,
)

from ssps_plugin.evaluation.embeddings import EmbeddingCache
from ssps_plugin.evaluation.results import (
    History,
    results_folder,
    run_settings,
    write_verification,
)
from ssps_plugin.training.checkpoints import Snapshots
from ssps_plugin.training.configuration import (
    Configuration,
    parse_configuration,
)
from ssps_plugin.training.runtime import process_group


def main(argv: list[str]) -> None:
    """Verify a trained encoder as options say."""
    configuration = parse_configuration(argv)
    with process_group(configuration.run_opts):
        verify(configuration)


def verify(configuration: Configuration) -> None:
    """Load the last epochs' encoder, embed, score, write."""
    if configuration.hparams_file.name == "hyperparams.yaml":
        look_beside(configuration)
    hparams = configuration.load()
    setup_logging()
    run_on_main(prepare_trials, kwargs={"hparams": hparams})
    verifications = load_verifications(hparams)
    if not verifications:
        raise ValueError(
            "No trials to score: set --trials and --trials_folder."
        )
    run_on_main(warn_of_trained_speakers, kwargs={"hparams": hparams})
    cohort, cache = load_cohort(hparams), EmbeddingCache()

    device = configuration.run_opts["device"] or infer_device()
    facts = load_trained(hparams)
    facts |= run_settings(hparams, cohort)
    framework = hparams["framework"].to(device).eval()
    for verification in verifications:
        result = verification.run(
            framework.embed,
            device,
            progress=if_main_process(),
            cohort=cohort,
            cache=cache,
        )
        if result is not None:  # on the main process
            write_verification(
                results_folder(hparams["output_folder"], verification),
                verification,
                result,
                config=configuration.hparams_file,
                **facts,
            )


def look_beside(configuration: Configuration) -> None:
    """Find a run by its saved configuration, and augment nothing.

    From any folder, whatever folder the training was started in.
    """
    folder = configuration.hparams_file.parent
    # References are resolved in what is saved: the objects that a path goes to
    # are told it, too.
    save, log = str(folder / "save"), str(folder / "train_log.txt")
    arguments = {
        "checkpointer": {"checkpoints_dir": save},
        "train_logger": {"save_file": log},
        "augmentation": {"noise_folder": None, "rir_folder": None},
    }
    found: dict[str, Any] = {
        "output_folder": str(folder),
        "save_folder": save,
        "made_trials": str(folder / "trials.txt"),
        "train_log": log,
        "noise_folder": None,
        "rir_folder": None,
    }
    for key, changed in arguments.items():
        given = configuration[key] or {}
        if changed.keys() <= given.keys():  # not an object of one's own
            found[key] = changed
    manifest = pathlib.Path(configuration["train_manifest"])
    beside = folder / manifest.name
    moved = not manifest.is_absolute() or not manifest.is_file()
    if moved and beside.is_file():
        found["train_manifest"] = str(beside)
    for key, value in found.items():
        configuration.overrides.setdefault(key, value)


def load_trained(hparams: dict[str, Any]) -> dict[str, Any]:
    """Load the average of the last epochs; returns what is known of them."""
    framework, counter = hparams["framework"], hparams["epoch_counter"]
    trained = {"framework": framework, "epoch_counter": counter}
    checkpoint = Checkpointer(hparams["save_folder"], trained)
    if checkpoint.recover_if_possible() is None:
        raise FileNotFoundError(
            f"Expected a checkpoint in {hparams['save_folder']}, found none: "
            "train first, with the same output_folder."
        )
    output_folder = pathlib.Path(hparams["output_folder"])
    snapshots = Snapshots(
        output_folder / "snapshots", hparams["averaged_epochs"]
    )
    epoch = counter.current
    averaged = snapshots.average_into(framework.exported_model, epoch)
    history = History(output_folder / "history.json")
    return {
        "epochs": epoch,
        "averaged_epochs": averaged,
        "coverage": history.at(epoch).get("coverage"),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
