"""Prepare a corpus in VoxCeleb's layout: a manifest to train on, and trials."""

import pathlib
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio import prepare_manifest
from ssps_plugin.evaluation.trial_source import (
    find_trial_list,
    hold_out_trials,
    trial_speakers,
)
from ssps_plugin.evaluation.trials import read_trials
from ssps_plugin.evaluation.verification import Verification
from ssps_plugin.simulation import make_minivox

logger = get_logger(__name__)


def prepare_data_folder(hparams: dict[str, Any]) -> None:
    """Make MiniVox, once, where the data folder is its own."""
    if hparams["data_folder"] == hparams["minivox_folder"]:
        make_minivox(hparams["minivox_folder"])


def prepare_voxceleb(hparams: dict[str, Any]) -> None:
    """Write the training manifest, and trials where there is no list.

    Speakers of the trials never enter the manifest. A manifest of one's own is
    used as it is, and nobody is held out.

    Arguments
    ---------
    hparams : dict
        `data_folder`, `trials` (None: looked for in the data folder, else
        made from speakers held out), `made_trials`, `num_held_out_speakers`,
        `num_made_trials`, `train_manifest`, `min_seconds`, `seed`.
    """
    manifest = pathlib.Path(hparams["train_manifest"])
    if manifest.is_file() and not pathlib.Path(f"{manifest}.json").is_file():
        logger.warning(
            "Training on %s as it is: see to it that no speaker of the trials "
            "is in it",
            manifest,
        )
        return
    trials_path = locate_trials(hparams)
    if trials_path is None and hold_out_trials(
        hparams["data_folder"],
        hparams["made_trials"],
        hparams["num_held_out_speakers"],
        hparams["num_made_trials"],
        hparams["seed"],
        hparams["min_seconds"],
    ):
        trials_path = pathlib.Path(hparams["made_trials"])
    speakers = set()
    if trials_path is not None:
        speakers = trial_speakers(read_trials(trials_path))
    prepare_manifest(
        hparams["data_folder"],
        manifest,
        exclude_speakers=speakers,
        min_seconds=hparams["min_seconds"],
    )


def load_verification(hparams: dict[str, Any]) -> Verification | None:
    """Return the verification of the run, None where there are no trials."""
    path = locate_trials(hparams)
    if path is None:
        logger.warning(
            "No trials, so no error rates: give a list with --trials and "
            "--trials_folder. (None was found, and none could be made: too "
            "few speakers to hold any out, or a manifest of one's own.)"
        )
        return None
    folder = hparams["trials_folder"] or hparams["data_folder"] or "."
    return Verification(path, folder, sample_rate=hparams["sample_rate"])


def locate_trials(hparams: dict[str, Any]) -> pathlib.Path | None:
    """Return the trial list given, found in the corpus, or made, if any."""
    if hparams["trials"] is not None:
        return pathlib.Path(hparams["trials"])
    found = None
    if hparams["data_folder"] is not None:
        found = find_trial_list(hparams["data_folder"])
    made = pathlib.Path(hparams["made_trials"])
    return made if found is None and made.is_file() else found
