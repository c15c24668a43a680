"""Where on disk the utterances of a trial list are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sized
from functools import cache
from pathlib import Path, PurePath

from ssps_plugin.dataio.speaker_folders import find_speaker_folders
from ssps_plugin.evaluation.trial_list import TrialList

#: Tried in this order after a name's own suffix.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".m4a")
#: Where VoxCeleb's archives unpack to, below the folder users name.
SUBFOLDERS = ("", "wav")
_NUM_NAMED = 3
_NUM_ROOTS_NAMED = 6


def find_trial_files(
    trials: TrialList, folder: str | os.PathLike[str]
) -> list[Path]:
    """Find the audio file of every utterance of a trial list.

    Looked for as ``<folder>/<name>`` and ``<folder>/wav/<name>``, and, where
    some have no such file, below every folder of speakers that the corpus
    holds (``vox1_dev_wav/wav`` and ``vox1_test_wav/wav``, say): first with the
    name's own suffix, then with every other one of `AUDIO_SUFFIXES`, so a list
    that says ``.wav`` serves a corpus converted to FLAC.

    Arguments
    ---------
    trials : TrialList
        Its ``utterances`` are paths below the folder.
    folder : str or os.PathLike
        The corpus.

    Returns
    -------
    files : list of Path
        One for every entry of ``trials.utterances``, in that order.

    Raises
    ------
    FileNotFoundError
        If some have no file; the message names a few, and the YAML keys.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "wav" / "id1").mkdir(parents=True)
    >>> (folder / "wav" / "id1" / "a.flac").touch()
    >>> (folder / "wav" / "id1" / "b.wav").touch()
    >>> trials = TrialList.from_names([1], ["id1/a.wav"], ["id1/b.wav"])
    >>> files = find_trial_files(trials, folder)
    >>> [file.relative_to(folder).as_posix() for file in files]
    ['wav/id1/a.flac', 'wav/id1/b.wav']
    """
    roots = [os.path.join(folder, subfolder) for subfolder in SUBFOLDERS]
    # One listing per folder instead of up to ten look-ups per utterance.
    file_names = cache(_file_names)
    found = {name: _find(name, roots, file_names) for name in trials.utterances}
    missing = [name for name, file in found.items() if file is None]
    if missing:
        further = _further_roots(folder, roots)
        found |= {name: _find(name, further, file_names) for name in missing}
        roots += further
    files = [file for file in found.values() if file is not None]
    if len(files) < len(found):
        raise FileNotFoundError(
            _describe([n for n, f in found.items() if f is None], found, roots)
        )
    return files


def _further_roots(
    folder: str | os.PathLike[str], roots: list[str]
) -> list[str]:
    """Where else speakers are, however the corpora are unpacked."""
    if not os.path.isdir(folder):
        return []
    prefixes = find_speaker_folders(os.fspath(folder))
    known = {os.path.normpath(root) for root in roots}
    further = [os.path.normpath(os.path.join(folder, p)) for p in prefixes]
    return [root for root in further if root not in known]


def _describe(missing: list[str], names: Sized, roots: list[str]) -> str:
    """Say what is missing, where it was looked for, and what to change."""
    named = ", ".join(missing[:_NUM_NAMED])
    more = ", …" if len(missing) > _NUM_NAMED else ""
    shown = " or ".join(map(_shown, roots[:_NUM_ROOTS_NAMED]))
    others = ", …" if len(roots) > _NUM_ROOTS_NAMED else ""
    return (
        "expected an audio file for every utterance of the trial list, found "
        f"none for {len(missing)} of {len(names)} ({named}{more}) below "
        f"{shown}{others} with suffixes {', '.join(AUDIO_SUFFIXES)}: set "
        "`trials_folder` to the folder that the names in `trials` start from."
    )


def _find(
    name: str, roots: list[str], file_names: Callable[[str], frozenset[str]]
) -> Path | None:
    """The first candidate that exists, or None."""
    parent, base = os.path.split(name)
    folders = [os.path.join(root, parent) for root in roots]
    for candidate in _candidates(base):
        for folder in folders:
            if candidate in file_names(os.path.normpath(folder)):
                return Path(folder, candidate)
    return None


def _candidates(base: str) -> Iterator[str]:
    """The name as it stands, then with the other audio suffixes."""
    yield base
    suffix = PurePath(base).suffix
    # A dot in a name without an audio suffix belongs to the name.
    stem = base.removesuffix(suffix) if suffix in AUDIO_SUFFIXES else base
    for other in AUDIO_SUFFIXES:
        if stem + other != base:
            yield stem + other


def _file_names(folder: str) -> frozenset[str]:
    """Names of the files in a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(e.name for e in entries if e.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _shown(folder: str) -> str:
    return folder.rstrip(os.sep) or os.sep
