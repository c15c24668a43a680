#!/usr/bin/env python3
"""Train speaker embeddings without labels, with or without SSPS.

On a laptop, on a synthetic corpus that it makes:

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml

On VoxCeleb, or any corpus laid out like it:

    python recipes/voxceleb/train_ssl.py hparams/simclr_ssps.yaml \
        --data_folder VOXCELEB2/dev --trials voxceleb1-o \
        --trials_folder VOXCELEB1
"""

import os
import pathlib
import sys
from typing import Any

import speechbrain as sb
from speechbrain.utils.distributed import if_main_process, run_on_main
from speechbrain.utils.logger import get_logger
from voxceleb_prepare import (
    load_cohort,
    load_verifications,
    prepare_data_folder,
    prepare_training_trials,
    prepare_voxceleb,
)

from ssps_plugin.dataio import (
    CropGroup,
    OracleViewSampler,
    SharedEpoch,
    ViewSampler,
    add_crop_groups,
    load_manifest,
)
from ssps_plugin.dataio.corpus.folders import link_data_folders
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.dataio.loading import train_loader_kwargs
from ssps_plugin.evaluation.results import (
    results_folder,
    run_settings,
    summarize_training,
    write_verification,
)
from ssps_plugin.evaluation.sampling_report import SamplingReport
from ssps_plugin.evaluation.scoring import Cohort
from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.checks import check_same_run
from ssps_plugin.training.configuration import (
    Configuration,
    parse_configuration,
)
from ssps_plugin.training.runtime import process_group

logger = get_logger(__name__)

# Above recipes/, where hparams/ is, in a clone as where pip installs both.
ROOT = pathlib.Path(__file__).resolve().parents[2]
MINIVOX = "hparams/minivox.yaml"


def main(argv: list[str]) -> None:
    """Train as a YAML file and options say."""
    configuration = parse_configuration(argv, ROOT)
    with process_group(configuration.run_opts):
        train(configuration)


def train(configuration: Configuration) -> None:
    """Prepare, train, verify."""
    own_manifest = "train_manifest" in configuration.overrides
    if configuration["data_folder"] is None and not own_manifest:
        use_minivox(configuration)
    if isinstance(configuration["data_folder"], list):
        join_data_folders(configuration)
    hparams = configuration.load()
    check_true_positives(hparams)
    going_on = if_main_process() and check_same_run(configuration)
    sb.create_experiment_directory(hparams["output_folder"])
    if if_main_process() and not going_on:  # else once it is known to fit
        configuration.save(hparams["output_folder"])
    for note in configuration.notes:
        logger.info(note)
    for warning in configuration.warnings:
        logger.warning(warning)

    say_what_is_unusual(hparams)
    say_what_augments(hparams)
    if own_manifest:
        say_what_is_made(hparams["train_manifest"])
    run_on_main(prepare_data_folder, kwargs={"hparams": hparams})
    run_on_main(prepare_training_trials, kwargs={"hparams": hparams})
    # Before a corpus is read: what is wrong with the trials is told at once.
    verifications = load_verifications(hparams)
    run_on_main(prepare_voxceleb, kwargs={"hparams": hparams})
    epoch = SharedEpoch()
    train_data = training_data(hparams, epoch)
    hparams["sampler"].bind(train_data)
    cohort = load_cohort(hparams, train_data) if verifications else None

    brain = SSLBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=configuration.run_opts,
        checkpointer=hparams["checkpointer"],
        epoch=epoch,
        report=SamplingReport.of_dataset(train_data),
        verifications=verifications,
        warm_start_from=hparams.get("warm_start_from"),
    )
    brain.fit(
        hparams["epoch_counter"],
        train_data,
        train_loader_kwargs=train_loader_kwargs(
            len(train_data),
            hparams["global_batch_size"],
            hparams["num_workers"],
        ),
    )

    conclude(brain, hparams, configuration, cohort)


def conclude(
    brain: SSLBrain,
    hparams: dict[str, Any],
    configuration: Configuration,
    cohort: Cohort | None,
) -> None:
    """Verify the final model by every list, and write what came of it.

    The first list's outcome goes to the output folder, those of others to
    where `verify.py` writes them.
    """
    results, averaged_epochs = brain.verify_average(cohort)
    if not if_main_process():
        return
    output_folder, history = hparams["output_folder"], brain.history
    configuration.save(output_folder)
    for number, result in enumerate(results):
        verification = brain.verifications[number]
        write_verification(
            results_folder(output_folder, verification)
            if number
            else output_folder,
            verification,
            result,
            config=configuration.hparams_file,
            epochs=hparams["epoch_counter"].current,
            averaged_epochs=averaged_epochs,
            coverage=history.rows[-1].get("coverage") if history.rows else None,
            **run_settings(hparams, cohort),
        )
    summarize_training(
        output_folder,
        history,
        hparams["sampler"].start_epoch,
        next(iter(results), None),
    )


def use_minivox(configuration: Configuration) -> None:
    """Without a corpus of one's own: MiniVox, and settings that suit it."""
    folder = configuration["minivox_folder"]
    configuration.overrides["data_folder"] = folder
    configuration.notes.append(
        f"No data_folder was given: training on MiniVox, a small synthetic "
        f"corpus, in {folder}. For VoxCeleb: python {sys.argv[0]} "
        f"{configuration.hparams_file} --data_folder VOXCELEB2/dev "
        "--trials voxceleb1-o --trials_folder VOXCELEB1"
    )
    if not configuration.overlays:
        configuration.lay_over(MINIVOX)


def join_data_folders(configuration: Configuration) -> None:
    """Go on with one folder that holds links to those that are given."""
    joined = os.path.abspath(
        os.path.join(configuration.resolved("output_folder"), "data")
    )
    roots = [str(root) for root in configuration["data_folder"]]
    run_on_main(link_data_folders, [roots, joined])
    configuration.overrides["data_folder"] = joined
    configuration.notes.append(
        f"{', '.join(roots)} are joined by links in {joined}."
    )


def check_true_positives(hparams: dict[str, Any]) -> None:
    """Keep the upper bound apart from SSPS.

    Raises
    ------
    ValueError
        True positives together with SSPS.
    """
    if hparams["true_positives"] and hparams["sampler"].start_epoch is not None:
        raise ValueError(
            "Expected true_positives without SSPS, which would replace them by "
            f"pseudo-positives from epoch {hparams['sampler'].start_epoch} on: "
            "train the twin without _ssps, or leave true_positives out."
        )


def say_what_is_unusual(hparams: dict[str, Any]) -> None:
    """Warn of settings that take away what a run is likely meant to do.

    Raises
    ------
    ValueError
        SSPS from the first epoch on, which no epoch can fill memories before.
    """
    start_epoch = hparams["sampler"].start_epoch
    if start_epoch == 1:
        raise ValueError(
            "Expected ssps_start_epoch of at least 2, since the epoch before "
            "fills the memories, got 1: set 2, or start from a finished run "
            "by warm_start_from."
        )
    if start_epoch is not None and hparams["num_epochs"] < start_epoch:
        logger.warning(
            "SSPS never starts: num_epochs is %d, ssps_start_epoch %d",
            hparams["num_epochs"],
            start_epoch,
        )
    if start_epoch is None and hparams.get("mask_false_negatives"):
        logger.warning(
            "mask_false_negatives does nothing without SSPS: there are no "
            "clusters to tell false negatives by"
        )
    framework, length = hparams["framework"], hparams["schedule_epochs"]
    if framework.final_momentum == 1.0 and hparams["num_epochs"] > length:
        logger.warning(
            "The momentum network, which is verified, stands still after "
            "epoch %d: num_epochs is %d, schedule_epochs %d",
            length,
            hparams["num_epochs"],
            length,
        )


def say_what_is_made(manifest: str) -> None:
    """Warn of a manifest that is given, and is not there yet."""
    if not pathlib.Path(manifest).is_file():
        logger.warning(
            "There is no train_manifest %s: it is made, of what is found in "
            "data_folder.",
            manifest,
        )


def say_what_augments(hparams: dict[str, Any]) -> None:
    """Log which folders noise and rooms come from; warn if from none."""
    if hparams["noise_folder"] is None and hparams["rir_folder"] is None:
        logger.warning(
            "No augmentation: noise_folder and rir_folder are not given. The "
            "published results on VoxCeleb use both (MUSAN, simulated RIRs)."
        )
    # An augmentation of one's own need not tell.
    for note in getattr(hparams["augmentation"], "notes", []):
        logger.info(note)


def say_what_is_short(train_data: Any, groups: list[CropGroup]) -> None:
    """Warn of utterances that are repeated to fill a view.

    All views of them are the same audio.
    """
    longest = max(group.seconds for group in groups)
    seconds = [float(value) for value in read_column(train_data, "duration")]
    num_short = sum(value < longest for value in seconds)
    if num_short:
        logger.warning(
            "%d of %d utterances are shorter than a view of %g s: they are "
            "repeated, and without augmentation such views of them are all "
            "alike. min_seconds leaves short ones out.",
            num_short,
            len(seconds),
            longest,
        )


def training_data(hparams: dict[str, Any], epoch: SharedEpoch) -> Any:
    """Read the manifest and add the views, and SSPS's reference segment."""
    train_data = load_manifest(
        hparams["train_manifest"], hparams["data_folder"]
    )
    say_what_is_short(train_data, hparams["crop_groups"])
    groups = list(hparams["crop_groups"])
    if hparams["sampler"].start_epoch is not None:
        seconds = hparams["reference_seconds"]
        groups.append(CropGroup("reference", seconds, augmented=False))
    options = {
        "groups": groups,
        "seed": hparams["seed"],
        "epoch": epoch,
        "augmentation": hparams["augmentation"],
        "sample_rate": hparams["sample_rate"],
    }
    if hparams["true_positives"]:
        logger.warning("true_positives: READS SPEAKER LABELS, an upper bound")
        views = OracleViewSampler(train_data, **options)
    else:
        views = ViewSampler(**options)
    add_crop_groups(train_data, views)
    return train_data


if __name__ == "__main__":
    main(sys.argv[1:])
