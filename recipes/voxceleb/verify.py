#!/usr/bin/env python3
r"""Score trial lists with a trained encoder.

    python recipes/voxceleb/verify.py OUTPUT_FOLDER/hyperparams.yaml \
        --trials LIST --trials_folder FOLDER

A list has lines of `label enrol test`, names relative to the folder; it is a
file, an http(s) address or the name of one of VoxCeleb1's (`voxceleb1-e`). One
without labels (`enrol test`) is scored, and has no error rates.
Several, as `--trials "[LIST, LIST]"`, embed an utterance once. Without the two
keys, the trials of the training run are scored again. With
`--cohort_size 3000`, scores are normalised. Scores and `results.json` go to
`OUTPUT_FOLDER/verify/<name of the list>`; those of another list of that name
to a folder of their own. Under torchrun, the processes share
the embedding.
"""

import pathlib
import sys
from typing import Any

from speechbrain.utils.distributed import (
    if_main_process,
    infer_device,
    run_on_main,
)
from speechbrain.utils.logger import get_logger
from voxceleb_prepare import Trials, warn_trained_speakers

from ssps_plugin.commands.recipe import run_recipe
from ssps_plugin.dataio import load_manifest
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.evaluation.embeddings import EmbeddingCache
from ssps_plugin.evaluation.results import (
    results_folder,
    run_settings,
    write_verification,
)
from ssps_plugin.evaluation.scoring import Cohort, draw_cohort
from ssps_plugin.pretrained.trained_run import (
    check_checkpoints,
    load_weights_of_run,
)
from ssps_plugin.training.configuration import (
    Configuration,
    parse_configuration,
)
from ssps_plugin.training.console import log_to_console
from ssps_plugin.training.runtime import process_group

logger = get_logger(__name__)

# All that is built and read: neither the augmentation, whose noise may be
# missing, nor what makes folders or sets a seed.
NEEDED_KEYS = (
    *("output_folder", "save_folder", "made_trials", "data_folder"),
    *("trials", "trials_folder", "train_manifest", "sample_rate", "seed"),
    *("cohort_size", "cohort_top_n", "true_positives", "num_resamples"),
    *("false_acceptance_rate", "averaged_epochs", "framework"),
    "reference_encoder",
)


def main(argv: list[str]) -> None:
    """Verify a trained encoder as options say."""
    configuration = parse_configuration(argv)
    timeout = configuration.get("rank_timeout_minutes")
    with process_group(configuration.run_opts, timeout):
        verify(configuration)


def verify(configuration: Configuration) -> None:
    """Load the average of the last epochs, embed, score, write."""
    if configuration.hparams_file.name == "hyperparams.yaml":
        use_paths_of_run(configuration)
    check_checkpoints(configuration.settings()["save_folder"])
    hparams = configuration.load(NEEDED_KEYS)
    log_to_console(sys.stdout)
    trials = Trials.from_hparams(hparams)
    run_on_main(trials.download)
    trials.read()
    if not trials.verifications:
        raise ValueError(
            "Expected trials to score, got none: change trials and "
            "trials_folder."
        )
    run_on_main(warn_trained_speakers, [trials, hparams["train_manifest"]])
    cohort = read_cohort(hparams) if hparams["cohort_size"] else None

    device = configuration.run_opts["device"] or infer_device()
    settings = load_model(hparams) | run_settings(hparams, cohort)
    framework = hparams["framework"].to(device).eval()
    cache = EmbeddingCache()
    for verification in trials.verifications:
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
                **settings,
            )


def use_paths_of_run(configuration: Configuration) -> None:
    """Use the files beside a saved configuration.

    A run can so be verified from any folder, and after it was moved.
    """
    folder = configuration.hparams_file.parent
    paths: dict[str, Any] = {
        "output_folder": str(folder),
        "save_folder": str(folder / "save"),
        "made_trials": str(folder / "trials.txt"),
    }
    manifest = pathlib.Path(configuration["train_manifest"])
    beside = folder / manifest.name
    moved = not manifest.is_absolute() or not manifest.is_file()
    if moved and beside.is_file():
        paths["train_manifest"] = str(beside)
    for key, value in paths.items():
        configuration.overrides.setdefault(key, value)


def read_cohort(hparams: dict[str, Any]) -> Cohort:
    """Read the manifest, and draw the cohort of score normalisation from it."""
    train_data = load_manifest(
        hparams["train_manifest"], hparams["data_folder"]
    )
    return draw_cohort(
        read_column(train_data, "wav"),
        hparams["cohort_size"],
        hparams["cohort_top_n"],
        hparams["seed"],
    )


def load_model(hparams: dict[str, Any]) -> dict[str, Any]:
    """Load the average of the last epochs into the framework.

    Returns
    -------
    dict
        `epochs`, `averaged_epochs` and `coverage`, as for
        `verification_results`.
    """
    loaded = load_weights_of_run(
        hparams["framework"],
        hparams["save_folder"],
        hparams["output_folder"],
        hparams["averaged_epochs"],
    )
    return {
        "epochs": loaded.epochs,
        "averaged_epochs": loaded.averaged_epochs,
        "coverage": loaded.coverage,
    }


if __name__ == "__main__":
    sys.exit(run_recipe(main, sys.argv[1:]))
