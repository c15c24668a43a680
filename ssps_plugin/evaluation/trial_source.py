"""Where a run's trials come from: a list, or speakers held out for them."""

import os
import pathlib
from collections import defaultdict

import numpy as np
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.corpus import Corpus
from ssps_plugin.dataio.corpus_check import CheckedFile, check_files
from ssps_plugin.evaluation.trial_list import TrialList
from ssps_plugin.evaluation.trial_making import make_trials
from ssps_plugin.evaluation.trials import write_trials

logger = get_logger(__name__)

Path = str | os.PathLike[str]
_LIST_NAMES = ("trials.txt", "veri_test.txt", "veri_test2.txt")


def find_trial_list(data_folder: Path) -> pathlib.Path | None:
    """Return the trial list that lies in a corpus, if there is one."""
    paths = (pathlib.Path(data_folder) / name for name in _LIST_NAMES)
    return next((path for path in paths if path.is_file()), None)


def trial_speakers(trials: TrialList) -> set[str]:
    """Speakers of the trials, by `<speaker>/<recording>/<utterance>`.

    They must not be trained on. A name without the folders tells no speaker.

    Example
    -------
    >>> trials = TrialList.from_names([0], ["wav/id1/a/1.wav"], ["id2/b/2.wav"])
    >>> sorted(trial_speakers(trials))
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
    data_folder: Path,
    path: Path,
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
