"""Audio in folders that say nothing: a corpus without labels."""

import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from ssps_plugin.dataio.corpus import CorpusFile
from ssps_plugin.dataio.speaker_folders import SUFFIXES


class AudioTree:
    """Every audio file below a folder, at any depth; no speaker is known.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The folder. Links are followed; hidden files and folders are not
        looked at.
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
            At least one; speaker and recording are empty.

        Raises
        ------
        ValueError
            There is no audio file, or all of them are excluded.
        """
        found = [
            CorpusFile(path, "", "", _without_suffix(path))
            for folder, names in self._walk()
            for path in (f"{folder}{name}" for name in names)
            if path.lower().endswith(SUFFIXES)
        ]
        files = [f for f in found if f.utterance_id not in self.excluded]
        if not files:
            raise ValueError(
                f"Expected audio ({', '.join(SUFFIXES)}) below "
                f"{self.data_folder}, found {len(found)} such files, all of "
                "which are in the trials: change data_folder or trials"
            )
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

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        """Yield folders, relative with a slash at the end, and their files."""
        for root, folders, names in os.walk(self.data_folder, followlinks=True):
            folders[:] = [f for f in folders if not f.startswith(".")]
            relative = os.path.relpath(root, self.data_folder)
            prefix = "" if relative == os.curdir else f"{relative}/"
            yield (
                prefix.replace(os.sep, "/"),
                [name for name in names if not name.startswith(".")],
            )


def _without_suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path
