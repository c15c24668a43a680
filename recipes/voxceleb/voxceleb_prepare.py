"""Prepare a corpus in VoxCeleb's layout: a manifest to train on, and trials."""

import pathlib
from collections import Counter
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio import load_manifest, prepare_manifest
from ssps_plugin.dataio.corpus.folders import path_in_data_folder
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.evaluation.scoring import Cohort, draw_cohort
from ssps_plugin.evaluation.trial_list import read_trials
from ssps_plugin.evaluation.trial_lookup import (
    count_trained_speakers,
    describe_speakers,
    download_trial_list,
    find_trial_files,
    find_trial_list,
    hold_out_trials,
    resolve_trial_list,
    speakers_of_trials,
)
from ssps_plugin.evaluation.verification import Verification
from ssps_plugin.simulation import make_minivox

logger = get_logger(__name__)


def prepare_data_folder(hparams: dict[str, Any]) -> None:
    """Make MiniVox, once, where the data folder is its own."""
    if hparams["data_folder"] == hparams["minivox_folder"]:
        make_minivox(hparams["minivox_folder"])


def prepare_trials(hparams: dict[str, Any]) -> None:
    """Fetch the trial lists given by name or address that are not here yet.

    Into `<output_folder>/trials`. One process does it, before any other looks
    for the lists.
    """
    locate_trials(hparams)  # refuses what cannot be told apart, or found
    for trials in given_trials(hparams):
        download_trial_list(trials, **places_of_lists(hparams))


def prepare_training_trials(hparams: dict[str, Any]) -> None:
    """Prepare trials, and make them where there is no list.

    From speakers held out; of a manifest of one's own nobody is.

    Arguments
    ---------
    hparams : dict
        `data_folder`, `trials` (None: looked for in the data folder, else
        made), `trials_folder`, `output_folder`, `made_trials`,
        `num_held_out_speakers`, `num_made_trials`, `train_manifest`,
        `folder_layout`, `min_seconds`, `seed`.
    """
    prepare_trials(hparams)
    if hparams["data_folder"] is None and not has_own_manifest(hparams):
        raise FileNotFoundError(
            f"Expected a manifest at {hparams['train_manifest']}, found none, "
            "and no data_folder to make it of: change train_manifest or "
            "data_folder."
        )
    labelled = hparams["folder_layout"] == "speakers"
    if (
        labelled
        and not has_own_manifest(hparams)
        and not locate_trials(hparams)
    ):
        hold_out_trials(
            hparams["data_folder"],
            hparams["made_trials"],
            hparams["num_held_out_speakers"],
            hparams["num_made_trials"],
            hparams["seed"],
            hparams["min_seconds"],
        )


def has_own_manifest(hparams: dict[str, Any]) -> bool:
    """Whether the manifest is there, and not one that we wrote."""
    manifest = pathlib.Path(hparams["train_manifest"])
    return manifest.is_file() and not pathlib.Path(f"{manifest}.json").is_file()


def prepare_voxceleb(hparams: dict[str, Any]) -> None:
    """Write the training manifest, once the trials are prepared.

    Speakers of the trials never enter the manifest. A manifest of one's own is
    used as it is, and refused where it names some of them.

    Arguments
    ---------
    hparams : dict
        As for `prepare_training_trials`.
    """
    manifest = pathlib.Path(hparams["train_manifest"])
    if has_own_manifest(hparams):
        check_own_manifest(hparams)
        return
    # Who speaks is told by the folders, or not at all.
    labelled = hparams["folder_layout"] == "speakers"
    speakers = read_trial_speakers(hparams) if labelled else set()
    utterances = set() if labelled else utterances_of_trials(hparams)
    prepare_manifest(
        hparams["data_folder"],
        manifest,
        exclude_speakers=speakers,
        min_seconds=hparams["min_seconds"],
        layout=hparams["folder_layout"],
        exclude_utterances=utterances,
    )


def check_own_manifest(hparams: dict[str, Any]) -> None:
    """Refuse to train on speakers of the trials, where they are known."""
    manifest = hparams["train_manifest"]
    trained = count_trained_speakers(manifest, read_trial_speakers(hparams))
    if trained is None:
        logger.warning(
            "Training on %s as it is: see to it that no speaker of the trials "
            "is in it",
            manifest,
        )
    elif trained:
        raise ValueError(
            "Expected a manifest without the speakers of the trials, got "
            f"{describe_speakers(trained)} in {manifest}: take their rows out "
            "of it, or change `trials`."
        )


def warn_of_trained_speakers(hparams: dict[str, Any]) -> None:
    """Warn where error rates are of speakers that were trained on."""
    manifest = hparams["train_manifest"]
    if not pathlib.Path(manifest).is_file():
        return
    trained = count_trained_speakers(manifest, read_trial_speakers(hparams))
    if trained:
        logger.warning(
            "Error rates will be too low: speakers of the trials are in the "
            "training manifest %s, %s",
            manifest,
            describe_speakers(trained),
        )


def read_trial_speakers(hparams: dict[str, Any]) -> set[str]:
    """Return the speakers of all trial lists, where their names tell."""
    lists = map(read_trials, locate_trials(hparams))
    return set().union(*map(speakers_of_trials, lists))


def utterances_of_trials(hparams: dict[str, Any]) -> set[str]:
    """Return the files of all trial lists, relative to the data folder."""
    lists = map(read_trials, locate_trials(hparams))
    folder, root = folder_of_trials(hparams), hparams["data_folder"]
    return {
        path_in_data_folder(file, root)
        for trials in lists
        for file in find_trial_files(trials, folder)
    }


def load_verifications(hparams: dict[str, Any]) -> list[Verification]:
    """Return the verification of every trial list, none where there is none.

    Training verifies epochs by the first of them, its result by all.
    """
    paths = locate_trials(hparams)
    if not paths:
        logger.warning(
            "No trials, so no error rates: give a list with --trials and "
            "--trials_folder. (None was found, and none could be made: too "
            "few speakers to hold any out, too few utterances of each, or a "
            "manifest of one's own.)"
        )
    folder = folder_of_trials(hparams)
    return [
        Verification(path, folder, sample_rate=hparams["sample_rate"])
        for path in paths
    ]


def load_cohort(
    hparams: dict[str, Any], train_data: DynamicItemDataset | None = None
) -> Cohort | None:
    """Draw the cohort of score normalisation, None where it is not wanted.

    From the training set, which is read where it is not given.
    """
    if not hparams["cohort_size"]:
        return None
    if train_data is None:
        train_data = load_manifest(
            hparams["train_manifest"], hparams["data_folder"]
        )
    return draw_cohort(
        read_column(train_data, "wav"),
        hparams["cohort_size"],
        hparams["cohort_top_n"],
        hparams["seed"],
    )


def locate_trials(hparams: dict[str, Any]) -> list[pathlib.Path]:
    """Return the trial lists given, found in the corpus, or made, if any.

    Raises
    ------
    ValueError
        Two lists of one name, whose results would overwrite each other.
    """
    given = given_trials(hparams)
    if given:
        places = places_of_lists(hparams)
        paths = [resolve_trial_list(trials, **places) for trials in given]
        check_distinct(paths)
        return paths
    found = None
    if hparams["data_folder"] is not None:
        found = find_trial_list(hparams["data_folder"])
    made = pathlib.Path(hparams["made_trials"])
    if found is None and made.is_file():
        found = made
    return [] if found is None else [found]


def check_distinct(paths: list[pathlib.Path]) -> None:
    """Refuse lists of one name: their outcomes go to one folder."""
    counts = Counter(path.stem for path in paths)
    alike = [str(path) for path in paths if counts[path.stem] > 1]
    if alike:
        raise ValueError(
            "Expected trial lists of distinct names, since each is scored into "
            f"verify/<name>, got {' and '.join(alike)}: rename one of them, "
            "or leave it out of `trials`."
        )


def folder_of_trials(hparams: dict[str, Any]) -> str:
    """Return what the names in the trial lists start from."""
    return str(hparams["trials_folder"] or hparams["data_folder"] or ".")


def given_trials(hparams: dict[str, Any]) -> list[str]:
    """Return the files, names and addresses that `trials` holds, if any."""
    given = hparams["trials"]
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def places_of_lists(hparams: dict[str, Any]) -> dict[str, Any]:
    """Return where VoxCeleb's own lists may lie, and where they go to."""
    folders = (hparams["trials_folder"], hparams["data_folder"])
    return {
        "folders": [folder for folder in folders if folder is not None],
        "download_folder": pathlib.Path(hparams["output_folder"]) / "trials",
    }
