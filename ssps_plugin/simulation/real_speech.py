"""Simulated recordings laid over clean, real speech."""

import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssps_plugin.simulation.clean_speech import (
    find_speech,
    read_speech,
    speech_fingerprint,
)
from ssps_plugin.simulation.conditions import draw_condition
from ssps_plugin.simulation.corpus_files import (
    RECORDING_STREAM,
    TRIAL_STREAM,
    draw_recording_name,
    list_utterances,
    write_speakers,
    write_wav,
)
from ssps_plugin.simulation.corpus_folder import (
    corpus_in_progress,
    has_corpus,
)
from ssps_plugin.simulation.extras import import_extra
from ssps_plugin.simulation.parallel import run_tasks
from ssps_plugin.simulation.trials import draw_trials, write_trials

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raise it when the same settings give other bytes
DESCRIPTION_NAME = "recordings.json"


def simulate_recordings(
    clean_folder: str | Path,
    folder: str | Path,
    num_recordings: int = 12,
    num_trial_speakers: int = 0,
    num_trials: int = 10000,
    seed: int = 1,
    num_jobs: int | None = None,
) -> Path:
    """Divide clean speech over recordings, each in a condition of its own.

    The folder gets the layout of MiniVox, with a ``recordings.json``, and is
    kept or replaced by the same rules.

    Arguments
    ---------
    clean_folder : str or Path
        Holds a folder for each speaker, and in it, at any depth, WAV, FLAC or
        OGG files at any rate.
    folder : str or Path
        Where to make the corpus.
    num_recordings : int
        Recordings for each speaker; fewer for one with fewer utterances.
    num_trial_speakers : int
        How many speakers, drawn at random, are kept for trials: 0, or at least
        2. Genders are not known, so impostors are of any.
    num_trials : int
        Number of trials, half of them target trials.
    seed : int
        Seed of everything.
    num_jobs : int, optional
        Number of processes; None takes one for each core. Several need a
        calling script to have an ``if __name__ == "__main__":`` guard.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If the clean folder holds no speech.
    ValueError
        If a number is out of range, or an utterance is silent.
    FileExistsError
        If the folder holds anything that is not such a corpus.
    RuntimeError
        If the demo extra is missing.
    """
    clean_folder, folder = Path(clean_folder), Path(folder)
    speech = find_speech(clean_folder)
    _check_numbers(num_recordings, num_trial_speakers, len(speech))
    description = {
        "corpus": "simulated recordings",
        "format_version": FORMAT_VERSION,
        "num_files": sum(map(len, speech.values())),
        "clean_speech": speech_fingerprint(clean_folder, speech),
        "num_recordings": num_recordings,
        "num_trial_speakers": num_trial_speakers,
        "num_trials": num_trials,
        "seed": seed,
    }
    if has_corpus(folder, DESCRIPTION_NAME, description):
        logger.info("The simulated recordings are already in %s", folder)
        return folder
    import_extra("pyroomacoustics")
    tasks = _divide(speech, num_recordings, seed)
    with corpus_in_progress(
        folder, DESCRIPTION_NAME, description
    ) as unfinished:
        function = partial(_write_recording, unfinished / "wav", seed)
        run_tasks(function, tasks, num_jobs, "Recordings")
        _write_lists(
            unfinished, list(speech), num_trial_speakers, num_trials, seed
        )
    return folder


def _check_numbers(
    num_recordings: int, num_trial_speakers: int, num_speakers: int
) -> None:
    if num_recordings < 1:
        raise ValueError(
            f"num_recordings must be at least 1, got {num_recordings}."
        )
    if num_trial_speakers != 0 and not 2 <= num_trial_speakers <= num_speakers:
        raise ValueError(
            f"num_trial_speakers must be 0 or between 2 and {num_speakers}, "
            f"the number of speakers; got {num_trial_speakers}."
        )


class CleanRecordingTask(NamedTuple):
    """One recording to make: whose, its number, and of which utterances."""

    speaker: str
    speaker_index: int
    recording: int
    utterances: list[Path]


def _divide(
    speech: dict[str, list[Path]], num_recordings: int, seed: int
) -> list[CleanRecordingTask]:
    tasks = []
    for index, (speaker, utterances) in enumerate(speech.items()):
        rng = np.random.default_rng([seed, 0, index])
        order = [utterances[i] for i in rng.permutation(len(utterances))]
        for recording in range(min(num_recordings, len(order))):
            share = order[recording::num_recordings]
            tasks.append(CleanRecordingTask(speaker, index, recording, share))
    return tasks


def _write_recording(
    wav_folder: Path, seed: int, task: CleanRecordingTask
) -> None:
    rng = np.random.default_rng(
        [seed, RECORDING_STREAM, task.speaker_index, task.recording]
    )
    name = draw_recording_name(rng)
    condition = draw_condition(rng)
    for number, source in enumerate(task.utterances, start=1):
        path = wav_folder / task.speaker / name / f"{number:05d}.wav"
        write_wav(path, condition.apply(read_speech(source), rng))


def _write_lists(
    folder: Path,
    speakers: list[str],
    num_trial_speakers: int,
    num_trials: int,
    seed: int,
) -> None:
    rng = np.random.default_rng([seed, TRIAL_STREAM])
    chosen = rng.permutation(len(speakers))[:num_trial_speakers]
    trial_speakers = {speakers[index] for index in chosen}
    genders = dict.fromkeys(speakers, "")
    write_speakers(folder / "speakers.csv", genders, trial_speakers)
    utterances = list_utterances(folder / "wav", sorted(trial_speakers))
    if not trial_speakers:
        num_trials = 0
    trials = draw_trials(utterances, genders, num_trials, rng)
    write_trials(folder / "trials.txt", trials)
