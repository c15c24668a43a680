"""Where a run's trial lists come from, and what they need of the corpus.

A list is given as a file, as the name of one of VoxCeleb1's or as an address;
or it lies in the corpus; or it is made by holding out speakers. Then: where its
audio files are, which speakers it names, and which of them are trained on.
"""

from __future__ import annotations

import bisect
import csv
import difflib
import hashlib
import http.client
import os
import tempfile
import threading
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.corpus.corpus import Corpus, inspect_files
from ssps_plugin.dataio.corpus.folders import find_speaker_folders
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    describe_file_kind,
    make_trials,
    read_trials,
    write_trials,
)

logger = get_logger(__name__)

PathLike = str | os.PathLike[str]

OFFICIAL_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
#: Names of VoxCeleb1's lists, and the files that they are published as.
OFFICIAL_LISTS = {
    "voxceleb1-o": "veri_test.txt",
    "voxceleb1-o-cleaned": "veri_test2.txt",
    "voxceleb1-e": "list_test_all.txt",
    "voxceleb1-e-cleaned": "list_test_all2.txt",
    "voxceleb1-h": "list_test_hard.txt",
    "voxceleb1-h-cleaned": "list_test_hard2.txt",
}
#: Longest wait for a server's next answer.
TIMEOUT_SECONDS = 30.0
#: Longest download of a list, however steadily the server sends.
MAX_DOWNLOAD_SECONDS = 600.0
#: Largest list that is downloaded: VoxCeleb1-E has 42 MB.
MAX_DOWNLOAD_BYTES = 256 * 2**20
_CHUNK_BYTES = 2**16

# In a corpus, a list made for it comes before VoxCeleb1-O.
_LIST_NAMES = ("trials.txt", "veri_test.txt", "veri_test2.txt")

#: Tried in this order after a name's own suffix.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".m4a")
#: Where VoxCeleb's archives unpack to, below the folder that users name.
SUBFOLDERS = ("", "wav")
# Missing files and searched folders in an error message.
_NUM_FILES_SHOWN = 3
_NUM_FOLDERS_SHOWN = 6
# Names in a folder that a missing one is compared with.
_NUM_COMPARED = 1000


def resolve_trial_list(
    trials: PathLike, folders: Sequence[PathLike], download_folder: PathLike
) -> Path:
    """Return where a given trial list is, or will be once it is downloaded.

    Arguments
    ---------
    trials : str or os.PathLike
        A file; or a name of `OFFICIAL_LISTS`, in upper or lower case; or an
        http(s) address.
    folders : sequence of str or os.PathLike
        Where an official list may lie already, under the name of the file
        that it is published as. They are searched before `download_folder`.
    download_folder : str or os.PathLike
        Where lists are downloaded to.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        `trials` is none of these; the message has similar names.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> resolve_trial_list("VoxCeleb1-O", [folder], "downloads").as_posix()
    'downloads/veri_test.txt'
    >>> (folder / "veri_test.txt").touch()
    >>> resolve_trial_list("VoxCeleb1-O", [folder], "downloads") == (
    ...     folder / "veri_test.txt"
    ... )
    True
    """
    given = os.fspath(trials)
    if os.path.isfile(given):
        return Path(given)
    address = _resolve_address(given)
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        return _download_path(address, download_folder)
    paths = [Path(folder, official) for folder in (*folders, download_folder)]
    return next((path for path in paths if path.is_file()), paths[-1])


def download_trial_list(
    trials: PathLike, folders: Sequence[PathLike], download_folder: PathLike
) -> Path:
    """Download a given trial list, unless it exists already.

    Arguments
    ---------
    trials : str or os.PathLike
        As for `resolve_trial_list`, like the other arguments.
    folders : sequence of str or os.PathLike
        Where an official list may lie already.
    download_folder : str or os.PathLike
        Where it is downloaded to, whole or not at all.

    Returns
    -------
    pathlib.Path
        The list's file.

    Raises
    ------
    FileNotFoundError
        `trials` is neither a file nor an official name nor an address.
    RuntimeError
        The address cannot be reached, or its answer is cut short, larger than
        `MAX_DOWNLOAD_BYTES`, not ended within `MAX_DOWNLOAD_SECONDS`, or a
        redirect to what is not http(s).
    ValueError
        The answer is not a trial list.
    """
    path = resolve_trial_list(trials, folders, download_folder)
    if not path.is_file():
        address = _resolve_address(os.fspath(trials))
        logger.info("Downloading the trial list %s to %s", address, path)
        _write_if_valid(path, _download(address), address)
    return path


def _resolve_address(given: str) -> str:
    """Return the address of an official name, or the address given."""
    if given.lower().startswith(("http://", "https://")):
        return given
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        kind = describe_file_kind(given)
        kind = "no file here" if kind.startswith("no such file") else kind
        raise FileNotFoundError(
            "Expected a trial list's file, its http(s) address or one of "
            f"{', '.join(OFFICIAL_LISTS)}, got {given}, which is {kind}"
            f"{_suggest_names(given)}: change `trials`."
        )
    return OFFICIAL_ADDRESS + official


def _suggest_names(given: str) -> str:
    """Suggest the names of a published file, or names of similar spelling."""
    file_name = os.path.basename(given)
    names = [name for name, file in OFFICIAL_LISTS.items() if file == file_name]
    names = names or difflib.get_close_matches(given.lower(), OFFICIAL_LISTS)
    return f", did you mean {' or '.join(names)}?" if names else ""


def _download_path(address: str, download_folder: PathLike) -> Path:
    """Return a path that two addresses never share, whatever their names."""
    try:
        name = PurePosixPath(urllib.parse.urlsplit(address).path).name
    except ValueError as error:
        raise ValueError(
            f"Expected the http(s) address of a trial list, got {address} "
            f"({error}): change `trials`."
        ) from None
    digest = hashlib.sha256(address.encode("utf-8", "replace")).hexdigest()[:8]
    return Path(download_folder, digest, name.lstrip(".") or "trials.txt")


def _download(address: str) -> bytes:
    """Download a list, within limits of time and size."""
    answers: list[bytes | Exception] = []

    def work() -> None:
        try:
            answers.append(_fetch(address))
        except (OSError, http.client.HTTPException, ValueError) as error:
            answers.append(error)

    # A server that sends byte by byte, or looks up its name for ever, is left
    # behind: no limit of one call holds for all of them.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(MAX_DOWNLOAD_SECONDS)
    answer = (
        answers[0]
        if answers
        else TimeoutError(f"no end after {MAX_DOWNLOAD_SECONDS:g} s")
    )
    if isinstance(answer, Exception):
        raise RuntimeError(
            f"Expected to download the trial list {address}, got {answer}: "
            "download it where there is a network, and change `trials` to its "
            "path."
        ) from None
    return answer


def _fetch(address: str) -> bytes:
    request = urllib.request.Request(
        address, headers={"User-Agent": "ssps_plugin"}
    )
    content = bytearray()
    end = time.monotonic() + MAX_DOWNLOAD_SECONDS
    with _http_opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
        _check_size(int(answer.headers.get("Content-Length") or 0))
        # `read` would wait until a chunk is full.
        while chunk := answer.read1(_CHUNK_BYTES):
            content += chunk
            _check_size(len(content))
            if time.monotonic() > end:
                raise TimeoutError(f"no end after {MAX_DOWNLOAD_SECONDS:g} s")
        if answer.length:  # of a known length, what was not sent
            raise http.client.IncompleteRead(bytes(content), answer.length)
    return bytes(content)


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_DOWNLOAD_BYTES:
        raise ValueError(
            f"{num_bytes} bytes or more, above {MAX_DOWNLOAD_BYTES}, the most "
            "that is taken for a trial list"
        )


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https only."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(
                f"a redirect to {newurl}, which is not http(s)"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _http_opener() -> urllib.request.OpenerDirector:
    """Make an opener that knows http(s), and no files or ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _HttpRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def _write_if_valid(path: Path, content: bytes, address: str) -> None:
    """Write a trial list; raise and write nothing if it is not one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        temporary = Path(folder, path.name)
        try:
            temporary.write_bytes(content)
        except OSError as error:  # a full disk: its message names no file
            raise type(error)(
                f"Expected to write the trial list {path}, got "
                f"{error.strerror or error}: make room there, or change "
                "`trials` to a file."
            ) from error
        try:
            _check_names(read_trials(temporary), temporary)
        except ValueError as error:
            problem = str(error).replace(str(temporary), address)
            raise ValueError(
                f"{problem} Is it the address of the file itself?"
            ) from None
        os.replace(temporary, path)


def _check_names(trials: TrialList, path: Path) -> None:
    """Raise where a list without labels is rather an answer in two words."""
    first = trials.utterances[0]
    if trials.labels is None and not any(mark in first for mark in "/.\\"):
        raise ValueError(
            f"Expected lines of `label enrol test`, or two names of files, in "
            f"{path}, got {next(trials.pairs())}: change `trials`."
        )


def find_trial_list(data_folder: PathLike) -> Path | None:
    """Find the trial list that lies in a corpus; None if there is none.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus.

    Returns
    -------
    pathlib.Path or None
    """
    paths = (Path(data_folder, name) for name in _LIST_NAMES)
    return next((path for path in paths if path.is_file()), None)


def hold_out_trials(
    data_folder: PathLike,
    path: PathLike,
    num_speakers: int,
    num_trials: int,
    seed: int,
    min_seconds: float = 0.0,
) -> bool:
    """Hold out speakers of a corpus that has no list, and make trials of them.

    At most a fifth of the speakers is held out, and at least two. If there are
    fewer than ten, two are held out, provided that two remain.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus.
    path : str or os.PathLike
        Trial list to write, names relative to `data_folder`.
    num_speakers : int
        Most speakers to hold out; 0 holds out none.
    num_trials : int
        Most trials, half of them target trials; fewer if there are too few
        pairs of either kind.
    seed : int
        Decides who is held out.
    min_seconds : float
        Shorter utterances are in no trial.

    Returns
    -------
    bool
        False if the corpus has too few speakers or utterances for trials.
    """
    speakers = Corpus(data_folder).speakers
    num = min(num_speakers, max(2, len(speakers) // 5))
    if num < 2 or len(speakers) - num < 2:
        return False
    drawn = np.random.default_rng(seed).permutation(len(speakers))[:num]
    held_out = {speakers[index] for index in drawn}
    corpus = Corpus(data_folder, set(speakers) - held_out)
    utterances = _usable_utterances(corpus, min_seconds)
    num_each = min(num_trials // 2, *_count_pairs(utterances))
    if num_each == 0:
        return False
    write_trials(path, make_trials(utterances, 2 * num_each, seed))
    logger.info(
        "No trial list in %s: %d of %d speakers are held out for %d trials",
        os.fspath(data_folder),
        num,
        len(speakers),
        2 * num_each,
    )
    return True


def _usable_utterances(
    corpus: Corpus, min_seconds: float
) -> dict[str, dict[str, list[str]]]:
    """List the utterances that trials can name, by speaker and recording."""
    utterances: dict[str, dict[str, list[str]]] = {}
    for entry in inspect_files(corpus, min_seconds, num_threads=8):
        file = entry.file
        # A list has no place for white space around a name; within it, it has.
        if not entry.reason and file.path == file.path.strip():
            recordings = utterances.setdefault(file.speaker, {})
            recordings.setdefault(file.recording, []).append(file.path)
    return utterances


def _count_pairs(
    utterances: Mapping[str, Mapping[str, Sequence[str]]],
) -> tuple[int, int]:
    """Count the target and impostor trials that `make_trials` can draw."""
    sizes = [
        [len(names) for names in recordings.values()]
        for recordings in utterances.values()
    ]
    num_same_speaker = num_targets = 0
    for recording_sizes in sizes:
        num_pairs = _choose_two(sum(recording_sizes))
        num_same_speaker += num_pairs
        if len(recording_sizes) > 1:  # then target trials cross recordings
            num_pairs -= sum(map(_choose_two, recording_sizes))
        num_targets += num_pairs
    num_utterances = sum(map(sum, sizes))
    return num_targets, _choose_two(num_utterances) - num_same_speaker


def _choose_two(num: int) -> int:
    return num * (num - 1) // 2


def find_trial_files(
    trials: TrialList, folder: str | os.PathLike[str]
) -> list[Path]:
    """Find the audio file of every utterance of a trial list.

    Searched for as `<folder>/<name>` and `<folder>/wav/<name>`. If some names
    have no such file, they are searched for below every folder of speakers in
    the corpus (for example `vox1_dev_wav/wav` and `vox1_test_wav/wav`). The
    name's own suffix is tried first, then all others of `AUDIO_SUFFIXES`, so a
    list with names in `.wav` also fits a corpus that was converted to FLAC.
    Names that are still missing are searched for as they may be written on
    another system: backslashes as slashes, accents composed or decomposed, the
    suffix in upper or lower case.

    Arguments
    ---------
    trials : TrialList
        Its `utterances` are paths below the folder.
    folder : str or os.PathLike
        The corpus.

    Returns
    -------
    list of pathlib.Path
        One for every entry of `trials.utterances`, in that order.

    Raises
    ------
    FileNotFoundError
        Some have no file; the message names a few, what is nearest to the
        first, and the YAML keys.

    Example
    -------
    >>> folder = getfixture("tmp_path")
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
    list_names = cache(_list_names)
    found = {n: _find_file(n, roots, list_names) for n in trials.utterances}
    missing = [name for name, file in found.items() if file is None]
    if missing:
        further = _find_further_roots(folder, roots)
        found |= {n: _find_file(n, further, list_names) for n in missing}
        roots += further
        find_alike = _AlikeFiles(roots)
        found |= {n: find_alike(n) for n, file in found.items() if file is None}
    files = [file for file in found.values() if file is not None]
    if len(files) < len(found):
        missing = [name for name, file in found.items() if file is None]
        raise FileNotFoundError(
            _describe_missing(missing, len(found), roots)
            + _advise_on_missing(missing[0], roots)
        )
    return files


def _find_file(
    name: str, roots: list[str], list_names: Callable[[str], _Names]
) -> Path | None:
    """Find the first candidate that exists, or None."""
    parent, base = os.path.split(name)
    folders = [os.path.join(root, parent) for root in roots]
    for candidate in _candidate_names(base):
        for folder in folders:
            if candidate in list_names(os.path.normpath(folder)).files:
                return Path(os.path.normpath(folder), candidate)
    return None


def _candidate_names(base: str) -> Iterator[str]:
    """Yield the name unchanged, then with the other audio suffixes."""
    yield base
    suffix = PurePath(base).suffix
    # A dot in a name without an audio suffix belongs to the name.
    stem = base.removesuffix(suffix) if suffix in AUDIO_SUFFIXES else base
    for other in AUDIO_SUFFIXES:
        if stem + other != base:
            yield stem + other


@dataclass(frozen=True)
class _Names:
    """The names of the files and of the folders in a folder."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()


def _list_names(folder: str) -> _Names:
    """List the names in a folder; none if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            kinds = [(entry.name, entry.is_file()) for entry in entries]
    except PermissionError:
        raise
    except (OSError, ValueError):  # none, or a name that none can have
        return _Names()
    return _Names(
        frozenset(name for name, is_file in kinds if is_file),
        frozenset(name for name, is_file in kinds if not is_file),
    )


class _AlikeFiles:
    """Finds the files of names that a list writes in another way.

    Backslashes for slashes, letters with accents composed or decomposed (NFC,
    NFD), suffixes in upper or lower case.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self.roots = roots
        self.list_alike = cache(self._list_alike)

    def __call__(self, name: str) -> Path | None:
        """Find the file of a name, or None."""
        *parents, base = name.replace("\\", "/").split("/")
        folders = [self._find_folder(root, parents) for root in self.roots]
        for candidate in _candidate_names(_fold(base)):
            for folder in filter(None, folders):
                file = self.list_alike(folder)[0].get(candidate)
                if file is not None:
                    return Path(folder, file)
        return None

    def _find_folder(self, folder: str, parents: Sequence[str]) -> str | None:
        for name in parents:
            if name in ("", "."):
                continue
            folder = os.path.normpath(folder)
            alike = self.list_alike(folder)[1].get(_fold(name))
            if alike is None and name != "..":
                return None
            folder = os.path.join(folder, alike or name)
        return folder

    @staticmethod
    def _list_alike(folder: str) -> tuple[dict[str, str], dict[str, str]]:
        """List the names of files and folders by what is alike in them."""
        names = _list_names(folder)
        # Of several that are alike, always the same one.
        files = {_fold(n): n for n in sorted(names.files, reverse=True)}
        folders = {_fold(n): n for n in sorted(names.folders, reverse=True)}
        return files, folders


def _fold(name: str) -> str:
    """Compose letters and accents, and lower an audio suffix."""
    composed = unicodedata.normalize("NFC", name)
    suffix = PurePath(composed).suffix
    if suffix.lower() in AUDIO_SUFFIXES:
        return composed.removesuffix(suffix) + suffix.lower()
    return composed


def _find_further_roots(folder: PathLike, roots: list[str]) -> list[str]:
    """Find the folders of speakers in a corpus that are not yet roots."""
    if not os.path.isdir(folder):
        return []
    prefixes = find_speaker_folders(os.fspath(folder))
    searched = {os.path.normpath(root) for root in roots}
    further = [os.path.normpath(os.path.join(folder, p)) for p in prefixes]
    return [root for root in further if root not in searched]


def _describe_missing(
    missing: list[str], num_utterances: int, roots: list[str]
) -> str:
    """Describe which files are missing, where, and what to change."""
    names = ", ".join(missing[:_NUM_FILES_SHOWN])
    more_names = ", …" if len(missing) > _NUM_FILES_SHOWN else ""
    shown_roots = roots[:_NUM_FOLDERS_SHOWN]
    folders = " or ".join(root.rstrip(os.sep) or os.sep for root in shown_roots)
    more_folders = ", …" if len(roots) > _NUM_FOLDERS_SHOWN else ""
    return (
        "Expected an audio file for every utterance of the trial list, got "
        f"none for {len(missing)} of {num_utterances} ({names}{more_names}) "
        f"below {folders}{more_folders} with suffixes "
        f"{', '.join(AUDIO_SUFFIXES)}: change `trials_folder` to the folder "
        "that the names in `trials` start from."
    )


def _advise_on_missing(name: str, roots: Sequence[str]) -> str:
    """Name what is nearest to a missing file; empty if nothing is near."""
    *parents, base = name.replace("\\", "/").lstrip("/").split("/")
    find = _AlikeFiles(roots)
    if find(name.strip("\"'")) is not None:
        return " Take the quotes off the names."
    for start in range(1, len(parents) + 1):
        file = find("/".join([*parents[start:], base]))
        if file is not None:
            return (
                f" Without {'/'.join(parents[:start])}/ at its start, "
                f"{name} is {file}."
            )
    for root in filter(os.path.isdir, roots):
        near = _find_near(root, parents, base)
        if near is not None:
            return f" Nearest to {name} is {near}."
    return ""


def _find_near(folder: str, parents: Sequence[str], base: str) -> Path | None:
    """Find what is spelt like a name, in the last of its folders that exists.

    Of a folder that is missing, a folder of a similar name.
    """
    alike = _AlikeFiles([folder])
    for name in [part for part in parents if part not in ("", ".")]:
        inner = alike._find_folder(folder, [name])
        if inner is None:
            near = _most_similar(name, _list_names(folder).folders)
            return None if near is None else Path(folder, near)
        folder = inner
    near = _most_similar(base, _list_names(folder).files)
    return None if near is None else Path(folder, near)


def _most_similar(name: str, names: Set[str]) -> str | None:
    """Return the name that is most alike, in any case, None if none is."""
    lower = {one.lower(): one for one in sorted(names, reverse=True)}
    if name.lower() in lower:
        return lower[name.lower()]
    ordered = sorted(lower)
    # A folder may hold a million names: compare those that start alike.
    middle = bisect.bisect(ordered, name.lower())
    first = max(0, middle - _NUM_COMPARED // 2)
    some = ordered[first : first + _NUM_COMPARED]
    close = difflib.get_close_matches(name.lower(), some, n=1, cutoff=0.7)
    return lower[close[0]] if close else None


def speakers_of_trials(trials: TrialList) -> set[str]:
    """Return the speakers in the names of a list's utterances.

    They must not be trained on. A name that is not of the form
    `<speaker>/<recording>/<utterance>` has no speaker; a warning counts those.

    Arguments
    ---------
    trials : TrialList
        Names may have more folders before the speaker's.

    Returns
    -------
    set of str

    Example
    -------
    >>> trials = TrialList.from_names([0], ["wav/id1/a/1.wav"], ["id2/b/2.wav"])
    >>> sorted(speakers_of_trials(trials))
    ['id1', 'id2']
    """
    parts = [_split_name(name) for name in trials.utterances]
    num_without = sum(len(part) < 3 for part in parts)
    if num_without:
        logger.warning(
            "%d of %d utterances of the trials name no speaker (expected "
            "<speaker>/<recording>/<utterance>): their speakers are not kept "
            "out of training",
            num_without,
            len(parts),
        )
    return {part[-3] for part in parts if len(part) >= 3}


def _split_name(name: str) -> tuple[str, ...]:
    """Split a name at slashes or, if it has too few, at backslashes."""
    parts = PurePath(name).parts
    if len(parts) < 3 and "\\" in name:
        return PureWindowsPath(name).parts
    return parts


def count_trained_speakers(
    manifest: PathLike, speakers: Set[str]
) -> Counter[str] | None:
    """Count the utterances of given speakers in a training manifest.

    Arguments
    ---------
    manifest : str or os.PathLike
        A CSV with or without the column `speaker`.
    speakers : set of str
        Those of the trials.

    Returns
    -------
    Counter or None
        Number of utterances by speaker, of those that are in the manifest;
        None if it has no column `speaker`.

    Raises
    ------
    ValueError
        The manifest is no CSV in UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,speaker\\na,anna\\nb,ben\\nc,ben\\n")
    >>> count_trained_speakers(path, {"ben", "carl"})
    Counter({'ben': 2})
    """
    composed = {unicodedata.normalize("NFC", speaker) for speaker in speakers}
    normalize = cache(partial(unicodedata.normalize, "NFC"))
    try:
        with open(manifest, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            if "speaker" not in (rows.fieldnames or []):
                return None
            trained = (row["speaker"] or "" for row in rows)
            return Counter(s for s in trained if normalize(s) in composed)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f"Expected a CSV in UTF-8 as the training manifest {manifest}, "
            f"got {error}: repair it, or change train_manifest."
        ) from None


def describe_speakers(counts: Counter[str], num_shown: int = 3) -> str:
    """Describe how many speakers are trained on, and name the most frequent.

    Arguments
    ---------
    counts : Counter
        From `count_trained_speakers`.
    num_shown : int
        How many to name.

    Returns
    -------
    str

    Example
    -------
    >>> describe_speakers(Counter(ben=2, anna=1), num_shown=1)
    '2 of them (ben, …; 3 utterances)'
    """
    names = ", ".join(sorted(counts, key=lambda s: -counts[s])[:num_shown])
    more = ", …" if len(counts) > num_shown else ""
    return f"{len(counts)} of them ({names}{more}; {counts.total()} utterances)"
