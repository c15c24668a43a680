"""The folder layout of a corpus: speaker, recording, utterance."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

SUFFIXES = (".wav", ".flac", ".ogg")
LAYOUT = "<data_folder>/[wav/]<speaker>/<recording>/<utterance>.{wav,flac,ogg}"
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
        The folder that holds the speakers' folders, or one named `wav` that
        does.
    exclude_speakers : iterable of str
        Speakers to leave out, those of the trials for example.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no speaker's folder.
    """

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
        inner = os.path.join(self.data_folder, "wav")
        self.prefix = "wav/" if os.path.isdir(inner) else ""
        found = _folders(inner if self.prefix else self.data_folder)
        self.speakers = [s for s in found if s not in self.exclude_speakers]
        self.num_excluded = len(found) - len(self.speakers)
        if not self.speakers:
            raise ValueError(self._describe("no speaker's folder"))

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by speaker, recording and name.

        Returns
        -------
        list of CorpusFile
            At least one.

        Raises
        ------
        ValueError
            There is no audio file at the layout's depth.
        """
        # Listing waits for the file system (a network, often): in threads.
        with ThreadPoolExecutor(max_workers=16) as pool:
            listed = list(pool.map(self._speaker_files, self.speakers))
        files = [file for speaker_files in listed for file in speaker_files]
        if not files:
            raise ValueError(self._describe("no audio file at that depth"))
        return files

    def fingerprint(self) -> dict[str, float]:
        """Return what changes when a speaker or a recording is added.

        Returns
        -------
        dict
            The number of speakers and the newest modification time of the
            folders down to the speakers' (a full listing of a large corpus
            on a network file system takes minutes).
        """
        base = os.path.join(self.data_folder, self.prefix)
        folders = [base, *(os.path.join(base, s) for s in self.speakers)]
        with ThreadPoolExecutor(max_workers=16) as pool:
            newest = max(pool.map(os.path.getmtime, folders))
        return {"num_speakers": len(self.speakers), "newest_mtime": newest}

    def _speaker_files(self, speaker: str) -> list[CorpusFile]:
        folder = os.path.join(self.data_folder, self.prefix, speaker)
        return [
            CorpusFile(
                path=f"{self.prefix}{speaker}/{recording}/{name}",
                speaker=speaker,
                recording=recording,
                utterance_id=f"{speaker}/{recording}/{name.rpartition('.')[0]}",
            )
            for recording in _folders(folder)
            for name in _audio_names(os.path.join(folder, recording))
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
        if ".m4a" in suffixes:
            message += (
                "; .m4a must be converted to .wav or .flac first (ffmpeg)"
            )
        return f"{message}: change data_folder"


def _folders(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.is_dir()
        )


def _audio_names(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and entry.name.lower().endswith(SUFFIXES)
        )
