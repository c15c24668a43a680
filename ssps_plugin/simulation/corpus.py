"""A simulated corpus on disk: its folder, waveforms, speakers and trials."""

import json
import logging
import shutil
import string
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz, of the corpus and of all that makes it

# A corpus' seed is split into streams of random numbers; each kind of corpus
# has its own use for 0.
RECORDING_STREAM, TRIAL_STREAM = 1, 2

# All that is in a corpus' folder, besides its description.
_CORPUS_FILES = {"wav", "trials.txt", "speakers.csv"}
# Marks a folder in progress, which the next run may delete.
_UNFINISHED = "unfinished"

# VoxCeleb's recordings have the ids of YouTube.
_NAME_LENGTH = 11
_NAME_CHARACTERS = string.ascii_letters + string.digits

# Draws per wanted trial after which a kind of trial counts as used up.
_MAX_ATTEMPTS = 30

# From speaker to recording to paths.
_Utterances = dict[str, dict[str, list[str]]]
_Pair = tuple[str, str]


def has_corpus(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> bool:
    """Whether a folder holds a complete corpus of this description.

    Arguments
    ---------
    folder : Path
        The corpus' folder.
    description_name : str
        Name of the JSON file that describes it, such as `"minivox.json"`.
    description : mapping
        Format and settings; `num_files` says how many waveforms there are.

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
    return present >= _CORPUS_FILES and num_files == description["num_files"]


@contextmanager
def corpus_in_progress(
    folder: Path, description_name: str, description: Mapping[str, Any]
) -> Iterator[Path]:
    """Yield a folder to write to, which becomes the corpus in the end.

    It is `<folder>.partial` until the block ends. What an interrupted run
    leaves there is deleted by the next one.

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
        One of the folders holds anything but such a corpus.
    """
    # Replace what a link points to, not the link; "." has no name.
    folder = folder.resolve()
    unfinished = folder.with_name(folder.name + ".partial")
    _check_replaceable(folder, description_name)
    _check_replaceable(unfinished, _UNFINISHED)
    if unfinished.exists():
        logger.info("Deleting the unfinished corpus in %s", unfinished)
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    (unfinished / _UNFINISHED).touch()
    yield unfinished
    text = json.dumps(dict(description), indent=2) + "\n"
    (unfinished / description_name).write_text(text, "utf-8", newline="\n")
    (unfinished / _UNFINISHED).unlink()
    # Checked again: files may have been put there in the meantime.
    _check_replaceable(folder, description_name)
    if folder.exists():
        logger.info("Replacing the corpus in %s", folder)
        shutil.rmtree(folder)
    unfinished.rename(folder)


def _check_replaceable(folder: Path, marker: str) -> None:
    """Refuse what must not be deleted: anything but a corpus of ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(
            f"Expected a folder at {folder}, got a file: choose another folder."
        )
    names = {path.name for path in folder.iterdir()}
    if names and marker not in names:
        raise FileExistsError(
            f"Expected {folder} to be empty or to hold such a corpus, got a "
            f"folder without {marker!r}, which is left alone: choose another "
            "folder, or empty this one."
        )
    if marker == _UNFINISHED:
        return
    foreign = sorted(names - _CORPUS_FILES - {marker})
    if foreign:
        raise FileExistsError(
            f"Expected only the corpus' own files in {folder}, which has to "
            f"be made anew, got {foreign[:5]}: move them away, or choose "
            "another folder."
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


def write_wav(path: Path, waveform: NDArray[np.float64]) -> None:
    """Write a 16 kHz mono waveform as 16-bit PCM, and make its folder.

    Arguments
    ---------
    path : Path
        The file.
    waveform : numpy.ndarray
        `(samples,)` within [-1, 1].
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")


def write_lists(
    folder: Path,
    genders: Mapping[str, str],
    trial_speakers: set[str],
    num_trials: int,
    rng: Generator,
) -> None:
    """Write `speakers.csv`, and `trials.txt` with trials among the waveforms.

    Arguments
    ---------
    folder : Path
        The corpus' folder, with all waveforms in its `wav`.
    genders : mapping of str to str
        Gender of each speaker; empty where unknown.
    trial_speakers : set of str
        Speakers of the split `trial`; the others are `train`. Without any,
        there are no trials.
    num_trials : int
        Number of trials, half of them target trials.
    rng : numpy.random.Generator
        Source of randomness.
    """
    lines = ["speaker,gender,split\n"]
    for speaker, gender in genders.items():
        split = "trial" if speaker in trial_speakers else "train"
        lines.append(f"{speaker},{gender},{split}\n")
    _write_lines(folder / "speakers.csv", lines)
    trials: list[Trial] = []
    if trial_speakers:
        utterances = _list_utterances(folder / "wav", trial_speakers)
        trials = draw_trials(utterances, genders, num_trials, rng)
    write_trials(folder / "trials.txt", trials)


def _list_utterances(wav_folder: Path, speakers: Iterable[str]) -> list[str]:
    """List `speaker/recording/utterance.wav` of some speakers, sorted."""
    return sorted(
        path.relative_to(wav_folder).as_posix()
        for speaker in speakers
        for path in (wav_folder / speaker).glob("*/*.wav")
    )


class Trial(NamedTuple):
    """Two utterances to compare: is the speaker the same?

    Arguments
    ---------
    label : int
        1 for a target trial, 0 for an impostor.
    enrolment, test : str
        Paths of the form `speaker/recording/utterance.wav`.
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

    The utterances of a target trial are of two recordings. Half of the
    impostors are of the same gender, if the speakers allow. If the utterances
    do not make enough trials, there are fewer, and the log warns.

    Arguments
    ---------
    utterances : iterable of str
        Paths of the form `speaker/recording/utterance.wav`.
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
    tree = _group_by_speaker(utterances)
    num_targets = num_trials // 2
    num_impostors = num_trials - num_targets
    targets = _draw_distinct(
        partial(_draw_target, tree, rng), num_targets, set()
    )
    impostors: set[_Pair] = set()
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
    """Write trials the way VoxCeleb does: `label enrolment test`.

    Arguments
    ---------
    path : Path
        The file.
    trials : iterable of Trial
        The trials, in their order.
    """
    _write_lines(path, [f"{t.label} {t.enrolment} {t.test}\n" for t in trials])


def _group_by_speaker(utterances: Iterable[str]) -> _Utterances:
    tree: _Utterances = defaultdict(lambda: defaultdict(list))
    for utterance in utterances:
        speaker, recording, _ = utterance.split("/")
        tree[speaker][recording].append(utterance)
    return tree


def _draw_distinct(
    draw: Callable[[], _Pair | None], number: int, taken: set[_Pair]
) -> set[_Pair]:
    pairs: set[_Pair] = set()
    for _ in range(number * _MAX_ATTEMPTS):
        if len(pairs) == number:
            break
        pair = draw()
        # A pair and its reverse are one trial.
        if pair and not {pair, pair[::-1]} & (pairs | taken):
            pairs.add(pair)
    return pairs


def _draw_target(tree: _Utterances, rng: Generator) -> _Pair | None:
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
    tree: _Utterances,
    genders: Mapping[str, str],
    same_gender: bool | None,
    rng: Generator,
) -> _Pair | None:
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


def _write_lines(path: Path, lines: list[str]) -> None:
    # One kind of line end, so that the bytes are the same on every system.
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
