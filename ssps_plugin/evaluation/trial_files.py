"""Where on disk the utterances of a trial list are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePath

from ssps_plugin.evaluation.trial_list import TrialList

#: Tried in this order after a name's own suffix.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".m4a")
#: Where VoxCeleb's archives unpack to, below the folder users name.
SUBFOLDERS = ("", "wav")
_NUM_NAMED = 3


def find_trial_files(
    trials: TrialList, folder: str | os.PathLike[str]
) -> list[Path]:
    """Find the audio file of every utterance of a trial list.

    Looked for as ``<folder>/<name>`` and ``<folder>/wav/<name>``, first with
    the name's own suffix, then with every other one of `AUDIO_SUFFIXES`, so a
    list that says ``.wav`` serves a corpus converted to FLAC.

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
    files, missing = [], []
    for name in trials.utterances:
        file = _find(name, roots, file_names)
        if file is None:
            missing.append(name)
        else:
            files.append(file)
    if missing:
        named = ", ".join(missing[:_NUM_NAMED])
        more = ", …" if len(missing) > _NUM_NAMED else ""
        raise FileNotFoundError(
            "expected an audio file for every utterance of the trial list, "
            f"found none for {len(missing)} of {len(trials.utterances)} "
            f"({named}{more}) below {' or '.join(map(_shown, roots))} with "
            f"suffixes {', '.join(AUDIO_SUFFIXES)}: set `trials_folder` to "
            "the folder that the names in `trials` start from."
        )
    return files


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
