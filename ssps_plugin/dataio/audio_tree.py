"""Audio in folders that say nothing: a corpus without labels."""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.corpus import CorpusFile
from ssps_plugin.dataio.speaker_folders import (
    COMPRESSED,
    SUFFIXES,
    audio_among,
    how_to_convert,
    is_compressed,
    is_folder,
    is_no_speech,
)

logger = get_logger(__name__)


class AudioTree:
    """Every audio file below a folder, at any depth; no speaker is known.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The folder. Links are followed, to each folder once; hidden files and
        folders, MUSAN and RIRS_NOISES are not looked at.
    exclude_utterances : iterable of str
        Files to leave out, those of the trials for example: paths relative to
        the folder, with any suffix or none.

    Raises
    ------
    FileNotFoundError
        There is no such folder.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name in ("calls/a.wav", "b.flac", "test/c.wav"):
    ...     (folder / name).parent.mkdir(exist_ok=True)
    ...     (folder / name).touch()
    >>> tree = AudioTree(folder, exclude_utterances=["test/c.flac"])
    >>> [file.utterance_id for file in tree.files()]
    ['b', 'calls/a']
    """

    labelled = False

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        exclude_utterances: Iterable[str] = (),
    ) -> None:
        self.data_folder = os.path.abspath(data_folder)
        if not os.path.isdir(self.data_folder):
            raise FileNotFoundError(
                f"Expected a folder of audio, got none at {self.data_folder}: "
                "change data_folder"
            )
        self.excluded = frozenset(map(_without_suffix, exclude_utterances))
        self.num_excluded = 0  # speakers: none is known

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by path.

        Returns
        -------
        list of CorpusFile
            At least one that can be read; among them compressed files that
            were not converted. Speaker and recording are empty.

        Raises
        ------
        ValueError
            There is no audio file that can be read, or all are excluded.
        """
        found = [
            CorpusFile(path, "", "", _without_suffix(path))
            for folder, names in self._walk()
            for path in (f"{folder}{name}" for name in audio_among(names))
        ]
        files = [f for f in found if f.utterance_id not in self.excluded]
        if all(is_compressed(file.path) for file in files):
            raise ValueError(self._describe(found))
        return sorted(files, key=lambda file: file.utterance_id)

    def settings(self) -> dict[str, object]:
        """Return what decides which files there are; see `Corpus`."""
        folders = [os.path.join(self.data_folder, f) for f, _ in self._walk()]
        return {
            "data_folder": self.data_folder,
            "exclude_utterances": sorted(self.excluded),
            "num_folders": len(folders),
            "newest_mtime": max(map(os.path.getmtime, folders)),
        }

    def _describe(self, found: list[CorpusFile]) -> str:
        """Say what was looked for, what was found, and what to change."""
        num_compressed = sum(is_compressed(file.path) for file in found)
        num_excluded = len(found) - num_compressed
        message = (
            f"Expected audio ({', '.join(SUFFIXES)}) below {self.data_folder}, "
            f"found {num_excluded} such files"
        )
        if num_excluded:
            message += ", all of which are in the trials"
        if num_compressed:
            message += (
                f"; {num_compressed} others ({', '.join(COMPRESSED)}) must be "
                f"converted first: {how_to_convert(self.data_folder)}"
            )
        change = "data_folder or trials" if num_excluded else "data_folder"
        return f"{message}: change {change}"

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        """Yield folders, relative with a slash at the end, and their files."""
        visited: set[tuple[int, int]] = set()
        folders, links = [""], list[str]()
        # Links last: what they lead to is listed where it really is.
        while folders or links:
            folder = folders.pop() if folders else links.pop()
            path = os.path.join(self.data_folder, folder)
            found = os.stat(path)
            if (found.st_dev, found.st_ino) in visited:
                continue
            visited.add((found.st_dev, found.st_ino))
            names = []
            for entry in _entries(path):
                if not is_folder(entry):
                    names.append(entry.name)
                elif not is_no_speech(entry.name):
                    inner = links if entry.is_symlink() else folders
                    inner.append(f"{folder}{entry.name}/")
            yield folder, names


def _entries(path: str) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted, without hidden names."""
    try:
        with os.scandir(path) as entries:
            shown = [e for e in entries if not e.name.startswith(".")]
    except PermissionError as error:
        logger.warning("Passed over a folder that cannot be read: %s", error)
        return []
    return sorted(shown, key=lambda entry: entry.name)


def _without_suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    known = suffix.lower() in SUFFIXES + COMPRESSED
    return path.removesuffix(suffix) if known else path
