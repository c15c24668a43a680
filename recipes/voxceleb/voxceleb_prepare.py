"""Prepare a corpus in VoxCeleb's layout: trials, and a manifest to train on."""

import os
import pathlib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio import prepare_manifest
from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.corpus.folders import path_in_data_folder
from ssps_plugin.evaluation.default_trials import (
    DefaultTrials,
    find_default_trials,
)
from ssps_plugin.evaluation.trial_list import read_trials
from ssps_plugin.evaluation.trial_lookup import (
    count_trained_speakers,
    describe_speakers,
    download_trial_list,
    hold_out_trials,
    resolve_trial_list,
    speakers_of_trials,
)
from ssps_plugin.evaluation.verification import Verification

logger = get_logger(__name__)


class Trials:
    """The trial lists of a run: given, found in the corpus, or made.

    `download` and `make_from_held_out_speakers` write files: call them on the
    main process alone, before the others look for the lists. Then `read` on
    all processes, once, for the speakers, utterances and verifications.

    Arguments
    ---------
    trials : str or list of str, optional
        Files, names (`voxceleb1-e`) or http(s) addresses of the lists. Without
        any, those of `find_default_trials`, else the one that was made.
    trials_folder : str, optional
        What the names in the lists start from: the data folder if left out.
    data_folder : str, optional
        The corpus.
    output_folder : str
        Lists are downloaded into its subfolder `trials`.
    made_trials : str
        The file of the list that is made where there is none.
    sample_rate : int
        Samples per second that the encoder takes.
    manifest : str, optional
        The training manifest, which may not be there yet.
    """

    #: One for each list, by `read`: epochs are verified by the first of them,
    #: the final model by all.
    verifications: list[Verification]

    def __init__(
        self,
        trials: str | list[str] | None,
        trials_folder: str | None,
        data_folder: str | None,
        output_folder: str,
        made_trials: str,
        sample_rate: int,
        manifest: str | None = None,
    ) -> None:
        self.given: list[str] = []
        if trials is not None:
            self.given = trials if isinstance(trials, list) else [trials]
        self.folder = str(trials_folder or data_folder or ".")
        self.data_folder = data_folder
        self.made = pathlib.Path(made_trials)
        self.sample_rate = sample_rate
        self.manifest = manifest
        self.trials_folder = trials_folder
        folders = (trials_folder, data_folder)
        self._locations: dict[str, Any] = {
            "folders": [folder for folder in folders if folder is not None],
            "download_folder": pathlib.Path(output_folder, "trials"),
        }

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Any]) -> "Trials":
        """Make it of the values of a recipe's YAML."""
        return cls(
            hparams["trials"],
            hparams["trials_folder"],
            hparams["data_folder"],
            hparams["output_folder"],
            hparams["made_trials"],
            hparams["sample_rate"],
            hparams["train_manifest"],
        )

    @cached_property
    def default(self) -> DefaultTrials:
        """The lists that are taken where none is given."""
        if self.given:
            return DefaultTrials()
        return find_default_trials(
            self.data_folder, self.trials_folder, self.manifest
        )

    @property
    def names(self) -> list[str]:
        """The lists that are given or taken by default, but not made."""
        return self.given or list(self.default.names)

    @cached_property
    def paths(self) -> list[pathlib.Path]:
        """The files of the lists, in the order in which they are given.

        Those that are taken by default, behind the first, may be missing.

        Raises
        ------
        FileNotFoundError
            A list that is given is neither a file nor a name nor an address.
        ValueError
            Two lists have one name: their results would overwrite each other.
        """
        if self.names:
            paths = [
                resolve_trial_list(trials, **self._locations)
                for trials in self.names
            ]
            check_distinct_names(paths)
            return paths
        return [self.made] if self.made.is_file() else []

    def download(self) -> None:
        """Download the lists that are named or of an address, if need be.

        One that is taken by default, behind the first, may fail.
        """
        if not self.names:
            return
        # All are resolved, and so checked, before the first is downloaded.
        for trials, path in zip(self.names, self.paths, strict=True):
            if path.is_file():
                continue
            try:
                download_trial_list(trials, **self._locations)
            except (RuntimeError, ValueError) as error:
                if not self._is_optional(path):
                    raise
                logger.warning("%s is not scored. %s", trials, error)

    def make_from_held_out_speakers(self, **options: Any) -> None:
        """Hold speakers out, and make a list of them, where there is no list.

        One that was made and is damaged is set aside, and made again.

        Arguments
        ---------
        **options
            As for `hold_out_trials`.
        """
        if self.trials_folder and not pathlib.Path(self.trials_folder).is_dir():
            raise FileNotFoundError(
                "Expected the folder that names of trials start from, got "
                f"{self.trials_folder}, which is no folder: change "
                "trials_folder, or leave it out."
            )
        if not self.names and self.paths == [self.made]:
            self._set_damaged_aside()
        if not self.paths and hold_out_trials(
            self.data_folder, self.made, **options
        ):
            self.paths = [self.made]

    def _set_damaged_aside(self) -> None:
        """Rename the list that was made if it is not as it was written."""
        reason: object = "its last line is cut off"
        try:
            if self.made.read_bytes().endswith(b"\n"):
                read_trials(self.made)
                return
        except ValueError as error:
            reason = error
        damaged = f"{self.made}.damaged"
        os.replace(self.made, damaged)
        self.paths = []
        logger.warning(
            "The trial list %s is damaged (%s): it is kept as %s, and made "
            "again.",
            self.made,
            reason,
            damaged,
        )

    def read(self) -> None:
        """Read the lists, find their audio files and check these.

        Raises
        ------
        FileNotFoundError, AudioError, ValueError
            As for `Verification`.
        """
        if not self.paths:
            logger.warning(
                "No trials, so no error rates: give a list with --trials and "
                "--trials_folder. (None was found, and none could be made: too "
                "few speakers to hold any out, too few utterances of each, or "
                "a manifest of one's own.)"
            )
        if self.default.note:
            log = logger.info if self.default.names else logger.warning
            log(self.default.note)
        self.verifications = []
        for path in self.paths:
            if self._is_optional(path) and not path.is_file():
                continue  # `download` has said why
            try:
                # A list that was made is of the corpus that is trained on.
                is_made = not self.names and self.data_folder is not None
                verification = Verification(
                    path,
                    str(self.data_folder) if is_made else self.folder,
                    sample_rate=self.sample_rate,
                )
            except (FileNotFoundError, AudioError, ValueError) as error:
                if not self._is_optional(path):
                    raise
                logger.warning("%s is not scored. %s", path, error)
            else:
                self.verifications.append(verification)

    def _is_optional(self, path: pathlib.Path) -> bool:
        """Whether a list is taken by default, behind the first."""
        return not self.given and path != self.paths[0]

    def speakers(self) -> set[str]:
        """Return the speakers of all lists, as far as their names say."""
        lists = (verification.trials for verification in self.verifications)
        return set().union(*map(speakers_of_trials, lists))

    def utterances(self) -> set[str]:
        """Return the audio files of all lists, relative to the data folder."""
        return {
            path_in_data_folder(file, self.data_folder)
            for verification in self.verifications
            for file in verification.files
        }


def check_distinct_names(paths: list[pathlib.Path]) -> None:
    """Check that no two lists have one name: their results share a folder."""
    counts = Counter(path.stem for path in paths)
    alike = [str(path) for path in paths if counts[path.stem] > 1]
    if alike:
        raise ValueError(
            "Expected trial lists of distinct names, since each is scored into "
            f"verify/<name>, got {' and '.join(alike)}: rename one of them, "
            "or leave it out of `trials`."
        )


def prepare_trials(
    trials: Trials, manifest: str, layout: str, **options: Any
) -> None:
    """Download the trial lists, or make one where there is none.

    Of folders that name no speakers, and of a manifest of one's own, no
    speakers are held out.

    Arguments
    ---------
    trials : Trials
        The lists.
    manifest : str
        The training manifest.
    layout : str
        `speakers` where the data folder has a folder for each speaker.
    **options
        As for `hold_out_trials`.

    Raises
    ------
    FileNotFoundError
        There is neither a manifest nor a data folder.
    """
    trials.download()
    own_manifest = is_own_manifest(manifest)
    if trials.data_folder is None and not own_manifest:
        raise FileNotFoundError(
            f"Expected a manifest at {manifest}, got none, and no data_folder "
            "to make it of: change train_manifest or data_folder."
        )
    if layout == "speakers" and not own_manifest:
        trials.make_from_held_out_speakers(**options)


def prepare_voxceleb(
    trials: Trials,
    manifest: str,
    layout: str,
    min_seconds: float,
    is_kept: bool = False,
) -> None:
    """Write the training manifest, without the speakers of the trials.

    A manifest of one's own is used as it is, and so is that of a run that goes
    on.

    Arguments
    ---------
    trials : Trials
        The lists, prepared. Where the folders name no speakers, their
        utterances alone are left out.
    manifest : str
        The training manifest.
    layout : str
        As for `prepare_manifest`.
    min_seconds : float
        Shorter utterances are left out.
    is_kept : bool
        Whether it is the manifest of a run that goes on.

    Raises
    ------
    ValueError
        A manifest of one's own, or of a run that goes on, has speakers of the
        trials.
    """
    if is_own_manifest(manifest):
        check_own_manifest(manifest, trials.speakers())
        return
    if is_kept:
        check_trained_speakers(manifest, trials.speakers())
        return
    labelled = layout == "speakers"
    prepare_manifest(
        trials.data_folder,
        manifest,
        exclude_speakers=trials.speakers() if labelled else set(),
        min_seconds=min_seconds,
        layout=layout,
        exclude_utterances=set() if labelled else trials.utterances(),
    )


def is_own_manifest(manifest: str) -> bool:
    """Whether the manifest is there, and is none that we wrote."""
    path = pathlib.Path(manifest)
    return path.is_file() and not pathlib.Path(f"{path}.json").is_file()


def check_own_manifest(manifest: str, speakers: set[str]) -> None:
    """Check that the manifest has no speakers of the trials, if it names any.

    Raises
    ------
    ValueError
        It has some.
    """
    if not check_trained_speakers(manifest, speakers):
        logger.warning(
            "Training on %s as it is: see to it that no speaker of the trials "
            "is in it",
            manifest,
        )


def check_trained_speakers(manifest: str, speakers: set[str]) -> bool:
    """Check that a manifest has no speakers of the trials.

    Returns
    -------
    bool
        Whether it names its speakers.

    Raises
    ------
    ValueError
        It has some.
    """
    trained = count_trained_speakers(manifest, speakers)
    if trained:
        raise ValueError(
            "Expected a manifest without the speakers of the trials, got "
            f"{describe_speakers(trained)} in {manifest}: take their rows out "
            "of it (for a run that has not begun), or change `trials`."
        )
    return trained is not None


def warn_trained_speakers(trials: Trials, manifest: str) -> None:
    """Warn if the training manifest has speakers of the trials."""
    if not pathlib.Path(manifest).is_file():
        return
    trained = count_trained_speakers(manifest, trials.speakers())
    if trained:
        logger.warning(
            "Error rates will be too low: speakers of the trials are in the "
            "training manifest %s, %s",
            manifest,
            describe_speakers(trained),
        )
