"""A simulated corpus on disk: its folder, files and trials."""

import importlib
import json
import logging
import multiprocessing
import os
import shutil
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

logger = logging.getLogger(__name__)

_UNFINISHED = "unfinished"
_OWN_FILES = {"wav", "trials.txt", "speakers.csv"}

SAMPLE_RATE = 16000  # Hz

# A corpus' seed is split into streams of random numbers; 0 draws the voices
RECORDING_STREAM, TRIAL_STREAM = 1, 2

_NAME_LENGTH = 11  # of VoxCeleb's recordings, which are YouTube's ids
_NAME_CHARACTERS = string.ascii_letters + string.digits

# Draws per wanted trial after which a kind of trial counts as used up
_MAX_ATTEMPTS = 30

Utterances = dict[str, dict[str, list[str]]]
Pair = tuple[str, str]

Task = TypeVar("Task")

# Tasks sent to a process at a time: few, so that the bar moves
_CHUNK_SIZE = 4


def has_corpus(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> bool:
    """Whether a folder holds a complete corpus of this description.

    Arguments
    ---------
    folder : Path
        The corpus' folder.
    description_name : str
        Name of the JSON file that describes it, such as ``"minivox.json"``.
    description : mapping
        Format and settings; ``num_files`` says how many waveforms there are.

    Returns
    -------
    bool
        True if the description is the same and no file is missing.
    """
    try:
        found = json.loads((folder / description_name).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if found != dict(description):
        return False
    present = {path.name for path in folder.iterdir()}
    num_files = sum(1 for _ in (folder / "wav").glob("*/*/*.wav"))
    return present >= _OWN_FILES and num_files == description["num_files"]


@contextmanager
def corpus_in_progress(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> Iterator[Path]:
    """Give a folder to write to, which becomes the corpus in the end.

    It lies beside the corpus as ``<folder>.partial`` until the block ends;
    what an interrupted run leaves there is deleted by the next one.

    Arguments
    ---------
    folder : Path
        The corpus' folder. An older corpus in it is replaced.
    description_name : str
        Name of the JSON file, written last.
    description : mapping
        Its content.

    Yields
    ------
    Path
        The folder to write to.

    Raises
    ------
    FileExistsError
        If there is anything in the way that is not such a corpus.
    """
    # Replace what a link points to, not the link; "." has no name
    folder = folder.resolve()
    partial = folder.with_name(folder.name + ".partial")
    _check_own(folder, description_name)
    _check_own(partial, _UNFINISHED)
    if partial.exists():
        logger.info("Deleting the unfinished corpus in %s", partial)
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / _UNFINISHED).touch()
    yield partial
    text = json.dumps(dict(description), indent=2) + "\n"
    (partial / description_name).write_text(text, "utf-8", newline="\n")
    (partial / _UNFINISHED).unlink()
    # Checked again: files may have been put there in the meantime
    _check_own(folder, description_name)
    if folder.exists():
        logger.info("Replacing the corpus in %s", folder)
        shutil.rmtree(folder)
    partial.rename(folder)


def _check_own(folder: Path, marker: str) -> None:
    """Refuse what must not be deleted: anything but a corpus of ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; a folder was expected.")
    names = {path.name for path in folder.iterdir()}
    if names and marker not in names:
        raise FileExistsError(
            f"{folder} is not empty and holds no such corpus (there is no "
            f"{marker!r} in it), so it is left alone. Choose another "
            "folder, or empty this one."
        )
    if marker == _UNFINISHED:
        return
    foreign = sorted(names - _OWN_FILES - {marker})
    if foreign:
        raise FileExistsError(
            f"{folder} has to be made anew, but holds files that are not "
            f"the corpus': {foreign[:5]}. Move them away, or choose another "
            "folder."
        )


def draw_recording_name(rng: Generator) -> str:
    """Draw a name such as VoxCeleb's recordings have.

    Arguments
    ---------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    str
        11 letters and digits.
    """
    indices = rng.integers(len(_NAME_CHARACTERS), size=_NAME_LENGTH)
    return "".join(_NAME_CHARACTERS[index] for index in indices)


def list_utterances(wav_folder: Path, speakers: Iterable[str]) -> list[str]:
    """List ``speaker/recording/utterance.wav`` of some speakers, sorted.

    Arguments
    ---------
    wav_folder : Path
        The corpus' ``wav``.
    speakers : iterable of str
        Names of the speakers.

    Returns
    -------
    list of str
        Paths below ``wav_folder``, with forward slashes on every system.
    """
    return sorted(
        path.relative_to(wav_folder).as_posix()
        for speaker in speakers
        for path in (wav_folder / speaker).glob("*/*.wav")
    )


def write_wav(path: Path, waveform: NDArray[np.float64]) -> None:
    """Write a 16 kHz mono waveform as 16-bit PCM, making its folder.

    Arguments
    ---------
    path : Path
        The file.
    waveform : ndarray, shape (samples,)
        Within [-1, 1].
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")


def write_speakers(
    path: Path, genders: Mapping[str, str], trial_speakers: set[str]
) -> None:
    """Write who speaks: a CSV of speaker, gender and split.

    Arguments
    ---------
    path : Path
        The file.
    genders : mapping of str to str
        Gender of each speaker; empty where unknown.
    trial_speakers : set of str
        Those of the split ``trial``; the others are ``train``.
    """
    lines = ["speaker,gender,split\n"]
    for speaker, gender in genders.items():
        split = "trial" if speaker in trial_speakers else "train"
        lines.append(f"{speaker},{gender},{split}\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


class Trial(NamedTuple):
    """Two utterances: is it the same speaker?

    Arguments
    ---------
    label : int
        1 for a target trial, 0 for an impostor.
    enrolment, test : str
        Paths of the form ``speaker/recording/utterance.wav``.
    """

    label: int
    enrolment: str
    test: str


def draw_trials(
    utterances: Iterable[str],
    genders: Mapping[str, str],
    num_trials: int,
    rng: Generator,
) -> list[Trial]:
    """Draw target and impostor trials, half of each, without repetition.

    Target trials cross recordings; half of the impostors are of the
    same gender, where the speakers allow. If the utterances do not make enough
    trials, there are fewer, and the log says so.

    Arguments
    ---------
    utterances : iterable of str
        Paths of the form ``speaker/recording/utterance.wav``.
    genders : mapping of str to str
        Gender of each speaker; any values that can be compared.
    num_trials : int
        How many trials to draw.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of Trial
        In random order.

    Example
    -------
    >>> import numpy as np
    >>> paths = [f"{s}/{r}/00001.wav" for s in "ab" for r in "xy"]
    >>> trials = draw_trials(
    ...     paths, {"a": "f", "b": "f"}, 4, np.random.default_rng(0)
    ... )
    >>> sorted((t.label, t.enrolment[0] == t.test[0]) for t in trials)
    [(0, False), (0, False), (1, True), (1, True)]
    """
    tree = _by_speaker(utterances)
    num_targets = num_trials // 2
    num_impostors = num_trials - num_targets
    targets = _draw_distinct(
        partial(_draw_target, tree, rng), num_targets, set()
    )
    impostors: set[Pair] = set()
    for number, same_gender in (
        (num_impostors // 2, True),
        (num_impostors, False),
        (num_impostors, None),
    ):
        impostors |= _draw_distinct(
            partial(_draw_impostor, tree, genders, same_gender, rng),
            number - len(impostors),
            impostors,
        )
    trials = [Trial(1, *pair) for pair in sorted(targets)]
    trials += [Trial(0, *pair) for pair in sorted(impostors)]
    if len(trials) < num_trials:
        logger.warning(
            "Only %d distinct trials could be drawn instead of %d.",
            len(trials),
            num_trials,
        )
    return [trials[index] for index in rng.permutation(len(trials))]


def write_trials(path: Path, trials: Iterable[Trial]) -> None:
    """Write trials the way VoxCeleb does: ``label enrolment test``.

    Arguments
    ---------
    path : Path
        The file.
    trials : iterable of Trial
        What to write.
    """
    lines = [f"{t.label} {t.enrolment} {t.test}\n" for t in trials]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _by_speaker(utterances: Iterable[str]) -> Utterances:
    tree: Utterances = defaultdict(lambda: defaultdict(list))
    for utterance in utterances:
        speaker, recording, _ = utterance.split("/")
        tree[speaker][recording].append(utterance)
    return tree


def _draw_distinct(
    draw: Callable[[], Pair | None], number: int, taken: set[Pair]
) -> set[Pair]:
    pairs: set[Pair] = set()
    for _ in range(number * _MAX_ATTEMPTS):
        if len(pairs) == number:
            break
        pair = draw()
        # A pair and its reverse are one trial
        if pair and not {pair, pair[::-1]} & (pairs | taken):
            pairs.add(pair)
    return pairs


def _draw_target(tree: Utterances, rng: Generator) -> Pair | None:
    recordings = tree[_pick(list(tree), rng)]
    if len(recordings) < 2:
        return None
    one, other = rng.choice(len(recordings), 2, replace=False)
    names = list(recordings)
    return (
        _pick(recordings[names[one]], rng),
        _pick(recordings[names[other]], rng),
    )


def _draw_impostor(
    tree: Utterances,
    genders: Mapping[str, str],
    same_gender: bool | None,
    rng: Generator,
) -> Pair | None:
    if len(tree) < 2:
        return None
    names = list(tree)
    one, other = (names[i] for i in rng.choice(len(names), 2, replace=False))
    same = genders[one] == genders[other]
    if same_gender is not None and same != same_gender:
        return None
    return _draw_utterance(tree[one], rng), _draw_utterance(tree[other], rng)


def _draw_utterance(recordings: dict[str, list[str]], rng: Generator) -> str:
    return _pick(recordings[_pick(list(recordings), rng)], rng)


def _pick(names: list[str], rng: Generator) -> str:
    return names[int(rng.integers(len(names)))]


def run_tasks(
    function: Callable[[Task], None],
    tasks: Sequence[Task],
    num_jobs: int | None,
    description: str,
) -> None:
    """Call a function on every task, in parallel, with a progress bar.

    Processes are spawned rather than forked, for a parent that runs threads
    (PyTorch does) may deadlock its forks. A script that calls this needs the
    usual ``if __name__ == "__main__":`` guard, unless ``num_jobs`` is 1.

    Arguments
    ---------
    function : callable
        Takes one task; must be picklable if there are several jobs.
    tasks : sequence
        What to call it on.
    num_jobs : int, optional
        Number of processes. 1 runs in this process; None takes one for each
        core.
    description : str
        Shown at the progress bar.

    Raises
    ------
    ValueError
        If ``num_jobs`` is not positive.

    Example
    -------
    >>> seen = []
    >>> run_tasks(seen.append, [1, 2, 3], num_jobs=1, description="Counting")
    >>> seen
    [1, 2, 3]
    """
    if num_jobs is not None and num_jobs < 1:
        raise ValueError(
            f"num_jobs must be at least 1 or None, got {num_jobs}."
        )
    num_jobs = min(num_jobs or os.cpu_count() or 1, max(1, len(tasks)))
    if num_jobs == 1:
        _exhaust(map(function, tasks), len(tasks), description)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=context) as executor:
        results = executor.map(function, tasks, chunksize=_CHUNK_SIZE)
        _exhaust(results, len(tasks), description)


def _exhaust(results: Iterable[None], total: int, description: str) -> None:
    for _ in tqdm(results, total=total, desc=description, dynamic_ncols=True):
        pass


def import_extra(name: str) -> ModuleType:
    """Import a package of the ``demo`` extra, or say how to install it.

    Arguments
    ---------
    name : str
        The module's import name, such as ``"pyroomacoustics"``.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    RuntimeError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"Simulating recordings needs the module '{name}', which could "
            f"not be imported ({error}). It comes with the demo extra: "
            "pip install ssps_plugin[demo] (from a checkout: "
            "pip install '.[demo]')."
        ) from error
