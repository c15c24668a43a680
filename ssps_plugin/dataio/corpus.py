"""The folder layout of a corpus: speaker, recording, utterance."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ssps_plugin.dataio.speaker_folders import (
    COMPRESSED,
    audio_among,
    find_speaker_folders,
    folders_in,
    how_to_convert,
    is_compressed,
    speakers_in,
)

LAYOUT = "<data_folder>/[…/]<speaker>/<recording>/<utterance>.{wav,flac,ogg}"
_NUM_SHOWN = 5


@dataclass(frozen=True)
class CorpusFile:
    """An audio file at its place in the layout.

    Arguments
    ---------
    path : str
        Path relative to the data folder, with forward slashes.
    speaker : str
        The speaker's folder.
    recording : str
        The recording's folder.
    utterance_id : str
        `<speaker>/<recording>/<utterance>`, without the suffix.
    """

    path: str
    speaker: str
    recording: str
    utterance_id: str


class Corpus:
    """A folder of audio laid out by speaker and recording.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The folder that holds the speakers' folders, itself or further down
        (`wav`, `dev/aac`, several corpora beside each other …).
    exclude_speakers : iterable of str
        Speakers to leave out, those of the trials for example.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no speaker's folder.
    """

    labelled = True

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        exclude_speakers: Iterable[str] = (),
    ) -> None:
        self.data_folder = os.path.abspath(data_folder)
        self.exclude_speakers = frozenset(map(str, exclude_speakers))
        if not os.path.isdir(self.data_folder):
            raise FileNotFoundError(
                f"Expected a corpus laid out as {LAYOUT}, got no folder at "
                f"{self.data_folder}: change data_folder"
            )
        self.prefixes = find_speaker_folders(self.data_folder)
        found = [
            (prefix, speaker)
            for prefix in self.prefixes
            for speaker in speakers_in(os.path.join(self.data_folder, prefix))
        ]
        # A speaker may have recordings in several corpora.
        self._folders = [f for f in found if f[1] not in self.exclude_speakers]
        self.speakers = sorted({speaker for _, speaker in self._folders})
        excluded = {speaker for _, speaker in found} - set(self.speakers)
        self.num_excluded = len(excluded)
        if not self.speakers:
            raise ValueError(self._describe("no speaker's folder"))

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by speaker, recording and name.

        Returns
        -------
        list of CorpusFile
            At least one that can be read; among them compressed files that
            were not converted.

        Raises
        ------
        ValueError
            There is no audio file at the layout's depth, or compressed ones
            only.
        """
        # Listing waits for the file system (a network, often): in threads.
        with ThreadPoolExecutor(max_workers=16) as pool:
            listed = list(pool.map(self._speaker_files, self._folders))
        files = [file for speaker_files in listed for file in speaker_files]
        files.sort(key=lambda file: file.utterance_id)
        if all(is_compressed(file.path) for file in files):
            raise ValueError(self._describe("no audio file at that depth"))
        return files

    def settings(self) -> dict[str, object]:
        """Return what decides which files there are.

        Returns
        -------
        dict
            The arguments, how many speakers and recordings there are, and the
            newest modification time of the folders down to the recordings':
            a file added, renamed or deleted changes it, without a listing of
            the files (which takes minutes on a network file system).
        """
        inner = [prefix + speaker for prefix, speaker in self._folders]
        bases = (os.path.join(self.data_folder, p) for p in self.prefixes)
        with ThreadPoolExecutor(max_workers=16) as pool:
            newest = max(pool.map(os.path.getmtime, bases))
            speakers = list(pool.map(self._newest_recording, inner))
        return {
            "data_folder": self.data_folder,
            "exclude_speakers": sorted(self.exclude_speakers),
            "num_speakers": len(self.speakers),
            "num_recordings": sum(num for num, _ in speakers),
            "newest_mtime": max(newest, *(mtime for _, mtime in speakers)),
        }

    def _newest_recording(self, folder: str) -> tuple[int, float]:
        """A speaker's number of recordings and newest modification time."""
        path = os.path.join(self.data_folder, folder)
        names = folders_in(path)
        times = [os.path.getmtime(os.path.join(path, name)) for name in names]
        return len(names), max(times + [os.path.getmtime(path)])

    def _speaker_files(self, folder: tuple[str, str]) -> list[CorpusFile]:
        prefix, speaker = folder
        path = os.path.join(self.data_folder, prefix, speaker)
        return [
            CorpusFile(
                path=f"{prefix}{speaker}/{recording}/{name}",
                speaker=speaker,
                recording=recording,
                utterance_id=f"{speaker}/{recording}/{name.rpartition('.')[0]}",
            )
            for recording in folders_in(path)
            for name in audio_among(os.listdir(os.path.join(path, recording)))
        ]

    def _describe(self, problem: str) -> str:
        """Say what was looked for, what was seen, and what to change."""
        seen, suffixes = [], set()
        for root, folders, names in os.walk(self.data_folder):
            folders.sort()
            relative = os.path.relpath(root, self.data_folder)
            seen += [os.path.join(relative, n) for n in sorted(names)]
            suffixes |= {os.path.splitext(n)[1] for n in names}
            if root != self.data_folder and not folders and not names:
                seen.append(relative + os.sep)
            if len(seen) >= _NUM_SHOWN:
                break
        shown = ", ".join(map(os.path.normpath, seen[:_NUM_SHOWN])) or "nothing"
        message = (
            f"Expected a corpus laid out as {LAYOUT}, found {problem} in "
            f"{self.data_folder}; what is there: {shown}"
        )
        if self.num_excluded:
            message += f"; {self.num_excluded} speakers are in exclude_speakers"
        if compressed := sorted(suffixes & set(COMPRESSED)):
            message += (
                f"; {', '.join(compressed)} must be converted first: "
                f"{how_to_convert(self.data_folder)}"
            )
        return (
            f"{message}: change data_folder or, where folders do not tell who "
            "speaks, set --folder_layout any"
        )
