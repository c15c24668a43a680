"""Which trial lists verify a run whose YAML names none.

The corpus's own or, where VoxCeleb1 is there, VoxCeleb1-O, and VoxCeleb1-E and
-H if they keep nobody out of training who would be trained on otherwise.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssps_plugin.dataio.corpus.folders import (
    find_speaker_folders,
    list_speakers,
)
from ssps_plugin.evaluation.trial_lookup import (
    OFFICIAL_LISTS,
    PathLike,
    count_trained_speakers,
    find_trial_list,
)

#: All speakers of VoxCeleb1, whom VoxCeleb1-E's trials are of.
VOXCELEB1_SPEAKERS = frozenset(f"id{n}" for n in range(10001, 11252))
#: Those of its test part, whom VoxCeleb1-O's trials are of.
VOXCELEB1_TEST_SPEAKERS = frozenset(f"id{n}" for n in range(10270, 10310))


@dataclass(frozen=True)
class DefaultTrials:
    """The lists of a run that names none, and why some are not among them.

    Arguments
    ---------
    names : sequence of str
        Files, or names of `OFFICIAL_LISTS`. The first verifies epochs; what
        follows is left out where it cannot be fetched, or misses audio.
    note : str
        What was found of VoxCeleb1's lists, and what not; empty where there
        are none.
    """

    names: Sequence[str] = ()
    note: str = ""


def find_default_trials(
    data_folder: PathLike | None,
    trials_folder: PathLike | None = None,
    manifest: PathLike | None = None,
) -> DefaultTrials:
    """Find the trial lists of a run whose `trials` are null.

    The list that lies in the data folder or else in the trials folder comes
    first. If there is none, and the trials folder has all speakers of
    VoxCeleb1's test part, it is VoxCeleb1-O, by name. To VoxCeleb1-O, -E and -H
    are added (cleaned, if it is) where the folder of the trials has all of
    VoxCeleb1's speakers, and the training data none that VoxCeleb1-O does not
    keep out already.

    Arguments
    ---------
    data_folder : str or os.PathLike, optional
        The corpus to train on.
    trials_folder : str or os.PathLike, optional
        What the names in the lists start from; the data folder by default.
    manifest : str or os.PathLike, optional
        The training manifest, where there is one already.

    Returns
    -------
    DefaultTrials

    Example
    -------
    >>> vox1, vox2 = (getfixture("tmp_path") / name for name in ("v1", "v2"))
    >>> for number in range(10270, 10310):  # the test part
    ...     (vox1 / "wav" / f"id{number}" / "video").mkdir(parents=True)
    ...     (vox1 / "wav" / f"id{number}" / "video" / "00001.wav").touch()
    >>> default = find_default_trials(vox2, vox1)
    >>> default.names, default.note.partition(" speakers")[0][-16:]
    (['voxceleb1-o'], '1211 of the 1251')
    """
    folders = [one for one in (data_folder, trials_folder) if one is not None]
    found = next(filter(None, map(find_trial_list, folders)), None)
    folder = trials_folder or data_folder
    if found is None:
        if trials_folder is None:
            return DefaultTrials()
        missing = VOXCELEB1_TEST_SPEAKERS - _speakers_in(trials_folder)
        if missing:
            return DefaultTrials(
                note=_note_without_list(trials_folder, missing)
            )
    first = "voxceleb1-o" if found is None else os.fspath(found)
    name = first if found is None else _official_name(found)
    if name is None or folder is None:
        return DefaultTrials([first])
    further = [name.replace("-o", f"-{letter}") for letter in "eh"]
    reason = _reason_against_further(folder, data_folder, manifest)
    if reason:
        note = f"By default, VoxCeleb1-E and -H are not scored: {reason}."
        return DefaultTrials([first], f"Trials: {first}. {note}")
    return DefaultTrials(
        [first, *further],
        f"Trials: {first}, which verifies epochs. By default, VoxCeleb1-E and "
        f"-H are scored at the end, since all speakers of VoxCeleb1 are in "
        f"{os.fspath(folder)}.",
    )


def _note_without_list(folder: PathLike, missing: Collection[str]) -> str:
    """Say why no list is taken by default, though there is a folder."""
    num = len(VOXCELEB1_TEST_SPEAKERS)
    present = (
        f"{num - len(missing)} of the {num} speakers of VoxCeleb1's test part "
        f"(not {', '.join(sorted(missing)[:3])}"
        + (", ...)" if len(missing) > 3 else ")")
        if len(missing) < num
        else "none of the speakers of VoxCeleb1's test part"
    )
    return (
        f"trials_folder is not used: {os.fspath(folder)} has no trial list "
        f"(trials.txt, veri_test.txt) and {present}. Name a list in trials."
    )


def _official_name(path: Path) -> str | None:
    """Return the name of VoxCeleb1-O, cleaned or not, by its file."""
    names = {file: name for name, file in OFFICIAL_LISTS.items()}
    return names.get(path.name)


def _reason_against_further(
    folder: PathLike, data_folder: PathLike | None, manifest: PathLike | None
) -> str:
    """Say why VoxCeleb1-E and -H are left out; empty if they are not."""
    missing = VOXCELEB1_SPEAKERS - _speakers_in(folder)
    if missing:
        return (
            f"{len(missing)} of the {len(VOXCELEB1_SPEAKERS)} speakers of "
            f"VoxCeleb1 are not in {os.fspath(folder)} (they need its dev part "
            "and its test part: change trials_folder)"
        )
    # Whoever is in a trial is kept out of training.
    further = VOXCELEB1_SPEAKERS - VOXCELEB1_TEST_SPEAKERS
    trained: Collection[str] = set()
    if data_folder is not None:
        trained = further & _speakers_in(data_folder)
    if not trained and manifest is not None and Path(manifest).is_file():
        trained = count_trained_speakers(manifest, further) or ()
    if trained:
        return (
            f"{len(trained)} of their speakers are in the training data, and "
            "would be kept out of it (name the lists in trials to have that)"
        )
    return ""


def _speakers_in(folder: PathLike) -> set[str]:
    """List the speakers of a corpus by the names of their folders."""
    if not os.path.isdir(folder):
        return set()
    return {
        speaker
        for place in find_speaker_folders(os.fspath(folder))
        for speaker in list_speakers(os.path.join(folder, place))
    }
