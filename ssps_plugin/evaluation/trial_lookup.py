"""Where a run's trials come from, and where their audio files are."""

from __future__ import annotations

import csv
import difflib
import hashlib
import http.client
import os
import pathlib
import tempfile
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence, Set, Sized
from functools import cache
from pathlib import Path, PurePath

import numpy as np
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.corpus.corpus import CheckedFile, Corpus, check_files
from ssps_plugin.dataio.corpus.folders import find_speaker_folders
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    make_trials,
    read_trials,
    write_trials,
)

logger = get_logger(__name__)

PathLike = str | os.PathLike[str]
_LIST_NAMES = ("trials.txt", "veri_test.txt", "veri_test2.txt")


OFFICIAL_ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
#: The names of VoxCeleb1's lists, and the files that they are published as.
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

#: Tried in this order after a name's own suffix.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".m4a")
#: Where VoxCeleb's archives unpack to, below the folder users name.
SUBFOLDERS = ("", "wav")
_NUM_NAMED = 3
_NUM_ROOTS_NAMED = 6


def find_trial_list(data_folder: PathLike) -> pathlib.Path | None:
    """Return the trial list that lies in a corpus, if there is one."""
    paths = (pathlib.Path(data_folder) / name for name in _LIST_NAMES)
    return next((path for path in paths if path.is_file()), None)


def speakers_of_trials(trials: TrialList) -> set[str]:
    """Speakers of the trials, by `<speaker>/<recording>/<utterance>`.

    They must not be trained on. A name without the folders tells no speaker.

    Example
    -------
    >>> trials = TrialList.from_names([0], ["wav/id1/a/1.wav"], ["id2/b/2.wav"])
    >>> sorted(speakers_of_trials(trials))
    ['id1', 'id2']
    """
    parts = [pathlib.PurePath(name).parts for name in trials.utterances]
    nameless = sum(len(part) < 3 for part in parts)
    if nameless:
        logger.warning(
            "%d of %d utterances of the trials name no speaker (expected "
            "<speaker>/<recording>/<utterance>): theirs are not kept out of "
            "training",
            nameless,
            len(parts),
        )
    return {part[-3] for part in parts if len(part) >= 3}


def hold_out_trials(
    data_folder: PathLike,
    path: PathLike,
    num_speakers: int,
    num_trials: int,
    seed: int,
    min_seconds: float = 0.0,
) -> bool:
    """Make trials from speakers of a corpus that has no list.

    At most a fifth of the speakers is held out, and at least two; of a corpus
    of fewer than ten, two are if two remain.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus.
    path : str or os.PathLike
        Trial list to write, names relative to `data_folder`.
    num_speakers : int
        Most speakers to hold out; 0 holds out none.
    num_trials : int
        Most trials, half of them target trials where there are that many.
    seed : int
        Decides who is held out.
    min_seconds : float
        Shorter utterances are in no trial.

    Returns
    -------
    bool
        False where the corpus has too few speakers or utterances for trials.
    """
    speakers = Corpus(data_folder).speakers
    num = min(num_speakers, max(2, len(speakers) // 5))
    if num < 2 or len(speakers) - num < 2:
        return False
    drawn = np.random.default_rng(seed).permutation(len(speakers))[:num]
    held_out = {speakers[place] for place in drawn}
    corpus = Corpus(data_folder, set(speakers) - held_out)
    checked = check_files(corpus, min_seconds, num_threads=8)
    # A list separates names by white space, so none may be within one.
    usable = [
        entry
        for entry in checked
        if not entry.reason and not any(map(str.isspace, entry.file.path))
    ]
    num_pairs = _num_pairs(usable)
    num_each = min(num_trials // 2, *num_pairs)
    if num_each == 0:
        return False
    utterances: dict[str, dict[str, list[str]]] = {}
    for entry in usable:
        recordings = utterances.setdefault(entry.file.speaker, {})
        recordings.setdefault(entry.file.recording, []).append(entry.file.path)
    write_trials(path, make_trials(utterances, 2 * num_each, seed))
    logger.info(
        "No trial list in %s: %d of %d speakers are held out for %d trials",
        os.fspath(data_folder),
        num,
        len(speakers),
        2 * num_each,
    )
    return True


def _num_pairs(files: list[CheckedFile]) -> tuple[int, int]:
    """Count the target pairs that cross recordings, and impostor pairs."""
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in files:
        sizes[entry.file.speaker][entry.file.recording] += 1
    totals = [sum(recordings.values()) for recordings in sizes.values()]
    num_targets = 0
    for total, recordings in zip(totals, sizes.values(), strict=True):
        within = sum(size * (size - 1) // 2 for size in recordings.values())
        every = total * (total - 1) // 2
        num_targets += every - within if len(recordings) > 1 else every
    everyone = sum(totals)
    same = sum(total * (total - 1) // 2 for total in totals)
    return num_targets, everyone * (everyone - 1) // 2 - same


def resolve_trial_list(
    trials: PathLike, folders: Sequence[PathLike], download_folder: PathLike
) -> pathlib.Path:
    """Return where a trial list is, or where it will be once it is fetched.

    Arguments
    ---------
    trials : str or os.PathLike
        A file; or a name of `OFFICIAL_LISTS`, in upper or lower case; or an
        http(s) address.
    folders : sequence of str or os.PathLike
        Where a named list may lie already, as the file that it is published
        as. They come before what was fetched.
    download_folder : str or os.PathLike
        Where lists are fetched to.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        `trials` is none of these; the message has the names that are close.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> resolve_trial_list("VoxCeleb1-O", [folder], "fetched").as_posix()
    'fetched/veri_test.txt'
    >>> (folder / "veri_test.txt").touch()
    >>> resolve_trial_list("VoxCeleb1-O", [folder], "fetched").parent == folder
    True
    """
    given = os.fspath(trials)
    if os.path.isfile(given):
        return pathlib.Path(given)
    address = _address_of(given)
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        return _place_of(address, pathlib.Path(download_folder))
    paths = [pathlib.Path(f, official) for f in (*folders, download_folder)]
    return next((path for path in paths if path.is_file()), paths[-1])


def download_trial_list(
    trials: PathLike, folders: Sequence[PathLike], download_folder: PathLike
) -> pathlib.Path:
    """Fetch a trial list, unless it is there already.

    Arguments
    ---------
    trials : str or os.PathLike
        As for `resolve_trial_list`, like the rest.
    folders : sequence of str or os.PathLike
        Where a named list may lie already.
    download_folder : str or os.PathLike
        Where it is fetched to, whole or not at all.

    Returns
    -------
    pathlib.Path
        The list's file.

    Raises
    ------
    FileNotFoundError
        `trials` is neither a file nor a name nor an address.
    RuntimeError
        The address cannot be fetched.
    ValueError
        What it gives is no trial list.
    """
    path = resolve_trial_list(trials, folders, download_folder)
    if not path.is_file():
        address = _address_of(os.fspath(trials))
        logger.info("Fetching the trial list %s into %s", address, path)
        _write_checked(path, _download(address), address)
    return path


def _address_of(given: str) -> str:
    """The address of a name, or the one that is given."""
    if given.lower().startswith(("http://", "https://")):
        return given
    official = OFFICIAL_LISTS.get(given.lower())
    if official is None:
        raise FileNotFoundError(
            "expected a trial list's file, its http(s) address or one of "
            f"{', '.join(OFFICIAL_LISTS)}, got {given}, which is no file here"
            f"{_suggestion(given)}: change `trials`."
        )
    return OFFICIAL_ADDRESS + official


def _suggestion(given: str) -> str:
    """Names of a published file that is not here, or names spelt alike."""
    file_name = os.path.basename(given)
    names = [name for name, file in OFFICIAL_LISTS.items() if file == file_name]
    names = names or difflib.get_close_matches(given.lower(), OFFICIAL_LISTS)
    return f", did you mean {' or '.join(names)}?" if names else ""


def _place_of(address: str, download_folder: pathlib.Path) -> pathlib.Path:
    """Lists of one file name at two addresses are two lists."""
    name = pathlib.PurePosixPath(urllib.parse.urlsplit(address).path).name
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    return download_folder / digest / (name.lstrip(".") or "trials.txt")


def _download(address: str) -> bytes:
    request = urllib.request.Request(
        address, headers={"User-Agent": "ssps_plugin"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            # All at once: only then is an answer that was cut short an error.
            content: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(
            f"could not fetch the trial list {address}: {error}. Download it "
            "where there is a network, and give its path with --trials."
        ) from None
    return content


def _write_checked(path: pathlib.Path, content: bytes, address: str) -> None:
    """Write a trial list, or nothing where it is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        fetched = pathlib.Path(folder, path.name)
        fetched.write_bytes(content)
        try:
            read_trials(fetched)
        except ValueError as error:
            problem = str(error).removeprefix(f"{fetched}").lstrip(",: ")
            raise ValueError(
                f"expected a trial list at {address}, got something else: "
                f"{problem} Is it the address of the file itself?"
            ) from None
        os.replace(fetched, path)


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


def count_trained_speakers(
    manifest: str | os.PathLike[str], speakers: Set[str]
) -> Counter[str] | None:
    """Count a manifest's utterances of given speakers.

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
        None where it has no column `speaker`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,speaker\\na,anna\\nb,ben\\nc,ben\\n")
    >>> count_trained_speakers(path, {"ben", "carl"})
    Counter({'ben': 2})
    """
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if "speaker" not in (rows.fieldnames or []):
            return None
        found = (row["speaker"] for row in rows)
        return Counter(speaker for speaker in found if speaker in speakers)


def describe_speakers(counts: Counter[str], num_shown: int = 3) -> str:
    """Say how many speakers are trained on, and who.

    Example
    -------
    >>> describe_speakers(Counter(ben=2, anna=1), num_shown=1)
    '2 of them (ben, …; 3 utterances)'
    """
    named = ", ".join(sorted(counts, key=lambda s: -counts[s])[:num_shown])
    more = ", …" if len(counts) > num_shown else ""
    return f"{len(counts)} of them ({named}{more}; {counts.total()} utterances)"
