"""The audio files of a corpus, with or without known speakers."""

import os
import unicodedata
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Protocol

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.corpus.folders import (
    AUDIO_SUFFIXES,
    COMPRESSED_SUFFIXES,
    conversion_command,
    find_speaker_folders,
    is_compressed,
    is_noise_or_rirs,
    list_folders,
    list_names,
    list_speakers,
    select_audio,
    walk_folders,
)
from ssps_plugin.dataio.corpus.header_cache import HeaderCache
from ssps_plugin.progress import progress_bar

LAYOUT = "<data_folder>/[…/]<speaker>/<recording>/<utterance>.{wav,flac,ogg}"
# Listing waits for the file system, which often is a network's.
_NUM_LISTING_THREADS = 16
# Files of a task: a million files are not a million tasks.
_CHUNK_SIZE = 256
# Paths that an error shows.
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


class AudioCorpus(Protocol):
    """What a corpus offers, whether its speakers are known or not.

    Attributes
    ----------
    labelled : bool
        Whether its files have a speaker and a recording.
    data_folder : str
        Its absolute path.
    num_excluded : int
        Speakers that were found and left out.
    """

    labelled: bool
    data_folder: str
    num_excluded: int

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by utterance id.

        Returns
        -------
        list of CorpusFile
            At least one that can be read; among them compressed files that
            were not converted.

        Raises
        ------
        ValueError
            There is no audio file that can be read.
        """

    def settings(self) -> dict[str, object]:
        """Return what decides which files there are.

        Returns
        -------
        dict
            The arguments, how many folders there are, and the newest of their
            modification times: a file added, renamed or deleted changes it,
            without a listing of the files (which takes minutes on a network
            file system).
        """


class Corpus:
    """A corpus laid out by speaker and recording: an `AudioCorpus`.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The folder that holds the speakers' folders, itself or further down
        (`wav`, `dev/aac`, several corpora beside each other …).
    exclude_speakers : iterable of str
        Speakers to leave out, such as those of the trials.

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
            for speaker in list_speakers(os.path.join(self.data_folder, prefix))
        ]
        # A speaker may have recordings in several corpora.
        excluded_names = set(map(_compose, self.exclude_speakers))
        self._folders = [
            f for f in found if _compose(f[1]) not in excluded_names
        ]
        self.speakers = sorted({speaker for _, speaker in self._folders})
        excluded = {speaker for _, speaker in found} - set(self.speakers)
        self.num_excluded = len(excluded)
        if not self.speakers:
            raise ValueError(self._describe_problem("no speaker's folder"))

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by speaker, recording and name.

        Raises
        ------
        ValueError
            There is no audio file at the layout's depth, or compressed ones
            only.
        """
        with ThreadPoolExecutor(max_workers=_NUM_LISTING_THREADS) as pool:
            listed = list(pool.map(self._list_speaker_files, self._folders))
        files = [file for speaker_files in listed for file in speaker_files]
        files.sort(key=lambda file: file.utterance_id)
        if all(is_compressed(file.path) for file in files):
            raise ValueError(
                self._describe_problem("no audio file at that depth")
            )
        return files

    def settings(self) -> dict[str, object]:
        """Return what decides which files there are; see `AudioCorpus`."""
        inner = [prefix + speaker for prefix, speaker in self._folders]
        bases = (os.path.join(self.data_folder, p) for p in self.prefixes)
        with ThreadPoolExecutor(max_workers=_NUM_LISTING_THREADS) as pool:
            newest = max(pool.map(os.path.getmtime, bases))
            speakers = list(pool.map(self._inspect_speaker, inner))
        return {
            "data_folder": self.data_folder,
            "exclude_speakers": sorted(self.exclude_speakers),
            "num_speakers": len(self.speakers),
            "num_recordings": sum(num for num, _ in speakers),
            "newest_mtime": max(newest, *(mtime for _, mtime in speakers)),
        }

    def _inspect_speaker(self, folder: str) -> tuple[int, float]:
        """Return the number of recordings and the newest modification time."""
        path = os.path.join(self.data_folder, folder)
        names = list_folders(path)
        times = [os.path.getmtime(os.path.join(path, name)) for name in names]
        return len(names), max(times + [os.path.getmtime(path)])

    def _list_speaker_files(self, folder: tuple[str, str]) -> list[CorpusFile]:
        prefix, speaker = folder
        path = os.path.join(self.data_folder, prefix, speaker)
        return [
            CorpusFile(
                path=f"{prefix}{speaker}/{recording}/{name}",
                speaker=speaker,
                recording=recording,
                utterance_id=f"{speaker}/{recording}/{name.rpartition('.')[0]}",
            )
            for recording in list_folders(path)
            for name in select_audio(list_names(os.path.join(path, recording)))
        ]

    def _describe_problem(self, problem: str) -> str:
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
            f"Expected a corpus laid out as {LAYOUT}, got {problem} in "
            f"{self.data_folder}; what is there: {shown}"
        )
        if self.num_excluded:
            message += f"; {self.num_excluded} speakers are in exclude_speakers"
        if compressed := sorted(suffixes & set(COMPRESSED_SUFFIXES)):
            message += (
                f"; {', '.join(compressed)} must be converted first: "
                f"{conversion_command(self.data_folder)}"
            )
        return (
            f"{message}: change data_folder or, where folders are not those "
            "of speakers, set --folder_layout any"
        )


class UnlabelledCorpus:
    """Every audio file below a folder, at any depth: an `AudioCorpus`.

    Its folders say nothing about speakers: no speaker is known.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The folder. Links are followed, to each folder once; hidden files and
        folders, MUSAN and RIRS_NOISES are passed over.
    exclude_utterances : iterable of str
        Files to leave out, such as those of the trials: paths relative to the
        folder, with any suffix or none.

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
    >>> corpus = UnlabelledCorpus(folder, exclude_utterances=["test/c.flac"])
    >>> [file.utterance_id for file in corpus.files()]
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
        self.exclude_utterances = frozenset(
            map(_without_suffix, exclude_utterances)
        )
        self.num_excluded = 0  # speakers: none is known

    def files(self) -> list[CorpusFile]:
        """List the audio files, sorted by path; speakers are empty.

        Raises
        ------
        ValueError
            There is no audio file that can be read, or all are excluded.
        """
        found = [
            CorpusFile(path, "", "", _without_suffix(path))
            for folder, names in walk_folders(self.data_folder, _is_skipped)
            for path in (f"{folder}{name}" for name in select_audio(names))
        ]
        excluded = set(map(_compose, self.exclude_utterances))
        files = [
            file
            for file in found
            if _compose(file.utterance_id) not in excluded
        ]
        if all(is_compressed(file.path) for file in files):
            raise ValueError(self._describe_problem(found))
        return sorted(files, key=lambda file: file.utterance_id)

    def settings(self) -> dict[str, object]:
        """Return what decides which files there are; see `AudioCorpus`."""
        folders = [
            os.path.join(self.data_folder, folder)
            for folder, _ in walk_folders(self.data_folder, _is_skipped)
        ]
        return {
            "data_folder": self.data_folder,
            "exclude_utterances": sorted(self.exclude_utterances),
            "num_folders": len(folders),
            "newest_mtime": max(map(os.path.getmtime, folders)),
        }

    def _describe_problem(self, found: list[CorpusFile]) -> str:
        """Say what was looked for, what was found, and what to change."""
        num_compressed = sum(is_compressed(file.path) for file in found)
        num_excluded = len(found) - num_compressed
        message = (
            f"Expected audio ({', '.join(AUDIO_SUFFIXES)}) below "
            f"{self.data_folder}, got {num_excluded} such files"
        )
        if num_excluded:
            message += ", all of which are in the trials"
        if num_compressed:
            message += (
                f"; {num_compressed} others "
                f"({', '.join(COMPRESSED_SUFFIXES)}) must be converted first: "
                f"{conversion_command(self.data_folder)}"
            )
        change = "data_folder or trials" if num_excluded else "data_folder"
        return f"{message}: change {change}"


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or is_noise_or_rirs(name)


def _compose(name: str) -> str:
    """Compose letters and accents (NFC): one name has two spellings on disk."""
    return unicodedata.normalize("NFC", name)


def _without_suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    if suffix.lower() in AUDIO_SUFFIXES + COMPRESSED_SUFFIXES:
        return path.removesuffix(suffix)
    return path


@dataclass(frozen=True)
class InspectedFile:
    """A corpus file with its length, or the reason to leave it out.

    Arguments
    ---------
    file : CorpusFile
        The file.
    seconds : float
        Its length in seconds, 0 where it is unknown.
    reason : str
        Why it is left out, in a word or two; empty if it is not.
    detail : str
        The same, in full.
    """

    file: CorpusFile
    seconds: float
    reason: str = ""
    detail: str = ""


def inspect_files(
    corpus: AudioCorpus, min_seconds: float, num_threads: int
) -> list[InspectedFile]:
    """Read every file's length and find those that cannot be used.

    Files are opened in threads. Their lengths are kept in a `HeaderCache`,
    which opens a file only once while it does not change.

    Arguments
    ---------
    corpus : AudioCorpus
        With speakers or without.
    min_seconds : float
        Utterances below this length are to be left out.
    num_threads : int
        Files opened at the same time.

    Returns
    -------
    list of InspectedFile
        All files, in the corpus's order.
    """
    files = corpus.files()
    chunks = [
        files[i : i + _CHUNK_SIZE] for i in range(0, len(files), _CHUNK_SIZE)
    ]
    headers = HeaderCache(corpus.data_folder)

    def inspect_chunk(chunk: list[CorpusFile]) -> list[InspectedFile]:
        return [_inspect(file, headers, min_seconds) for file in chunk]

    inspected: list[InspectedFile] = []
    with (
        ThreadPoolExecutor(max_workers=num_threads) as pool,
        progress_bar(
            description="Reading headers", total=len(files), unit="file"
        ) as bar,
    ):
        for results in pool.map(inspect_chunk, chunks):
            inspected += results
            headers.save()
            bar.update(len(results))
    return _mark_duplicates(inspected)


def _inspect(
    file: CorpusFile, headers: HeaderCache, min_seconds: float
) -> InspectedFile:
    # SpeechBrain replaces `$name` in a CSV.
    if "$" in file.path or not file.path.isprintable():
        return InspectedFile(file, 0.0, "name", "unprintable, or holds a $")
    if is_compressed(file.path):
        command = conversion_command(headers.data_folder)
        detail = f"must be converted first: {command}"
        return InspectedFile(file, 0.0, "compressed", detail)
    try:
        seconds = headers.read_seconds(file.path)
    except AudioError as error:
        return InspectedFile(file, 0.0, error.reason, str(error))
    if seconds < min_seconds:
        detail = f"{seconds:.3f} s, less than min_seconds {min_seconds}"
        return InspectedFile(file, seconds, "too short", detail)
    return InspectedFile(file, seconds)


def _mark_duplicates(inspected: list[InspectedFile]) -> list[InspectedFile]:
    """Keep the first of several files that differ in their suffix only."""
    seen: set[str] = set()
    marked = []
    for entry in inspected:
        utterance_id = entry.file.utterance_id
        if not entry.reason and utterance_id in seen:
            entry = replace(
                entry, reason="duplicate", detail=f"{utterance_id} is listed"
            )
        if not entry.reason:
            seen.add(utterance_id)
        marked.append(entry)
    return marked
