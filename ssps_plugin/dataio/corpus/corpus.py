"""The audio files of a corpus, with or without known speakers."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from speechbrain.utils.logger import get_logger
from tqdm import tqdm

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.dataio.corpus.folders import (
    COMPRESSED,
    SUFFIXES,
    audio_among,
    find_speaker_folders,
    folders_in,
    how_to_convert,
    is_compressed,
    is_folder,
    is_no_speech,
    speakers_in,
)
from ssps_plugin.dataio.corpus.header_cache import HeaderCache

logger = get_logger(__name__)

LAYOUT = "<data_folder>/[…/]<speaker>/<recording>/<utterance>.{wav,flac,ogg}"
_NUM_SHOWN = 5

_CHUNK_SIZE = 256


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


@dataclass(frozen=True)
class CheckedFile:
    """A corpus file with its length, or the reason to leave it out.

    Arguments
    ---------
    file : CorpusFile
        The file.
    seconds : float
        Its length in seconds, 0 where it could not be found out.
    reason : str
        Why it is left out, in a word or two; empty: it is not.
    detail : str
        The same, in full.
    """

    file: CorpusFile
    seconds: float
    reason: str = ""
    detail: str = ""


def check_files(
    corpus: Corpus | AudioTree, min_seconds: float, num_threads: int
) -> list[CheckedFile]:
    """Open every file of a corpus, in threads, unless its length is known.

    Lengths are kept in a `HeaderCache`, whatever is left out for which reason.

    Arguments
    ---------
    corpus : Corpus or AudioTree
        The corpus.
    min_seconds : float
        Utterances below this length are to be left out.
    num_threads : int
        Files opened at the same time.

    Returns
    -------
    list of CheckedFile
        All files, in the corpus's order.
    """
    files = corpus.files()
    chunks = [
        files[i : i + _CHUNK_SIZE] for i in range(0, len(files), _CHUNK_SIZE)
    ]

    headers = HeaderCache(corpus.data_folder)

    def check_chunk(chunk: list[CorpusFile]) -> list[CheckedFile]:
        return [_check(file, headers, min_seconds) for file in chunk]

    checked: list[CheckedFile] = []
    with (
        ThreadPoolExecutor(max_workers=num_threads) as pool,
        tqdm(total=len(files), desc="Reading headers", unit="file") as bar,
    ):
        for results in pool.map(check_chunk, chunks):
            checked += results
            headers.save()
            bar.update(len(results))
    return _mark_duplicates(checked)


def _check(
    file: CorpusFile, headers: HeaderCache, min_seconds: float
) -> CheckedFile:
    # SpeechBrain takes $name in a CSV for something to replace.
    if "$" in file.path or not file.path.isprintable():
        return CheckedFile(file, 0.0, "name", "unprintable, or holds a $")
    if is_compressed(file.path):
        command = how_to_convert(headers.data_folder)
        detail = f"must be converted first: {command}"
        return CheckedFile(file, 0.0, "compressed", detail)
    try:
        seconds = headers.seconds(file.path)
    except AudioError as error:
        return CheckedFile(file, 0.0, error.reason, str(error))
    if seconds < min_seconds:
        detail = f"{seconds:.3f} s, less than min_seconds {min_seconds}"
        return CheckedFile(file, seconds, "too short", detail)
    return CheckedFile(file, seconds)


def _mark_duplicates(checked: list[CheckedFile]) -> list[CheckedFile]:
    """Keep the first of several files that differ in their suffix only."""
    seen: set[str] = set()
    marked = []
    for entry in checked:
        utterance_id = entry.file.utterance_id
        if not entry.reason and utterance_id in seen:
            entry = replace(
                entry, reason="duplicate", detail=f"{utterance_id} is listed"
            )
        if not entry.reason:
            seen.add(utterance_id)
        marked.append(entry)
    return marked
