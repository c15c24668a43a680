"""Simulate recordings of clean, real speech."""

import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ssps_plugin.simulation.conditions import draw_condition
from ssps_plugin.simulation.corpus import (
    RECORDING_STREAM,
    SAMPLE_RATE,
    TRIAL_STREAM,
    corpus_in_progress,
    draw_recording_name,
    has_corpus,
    write_lists,
    write_wav,
)
from ssps_plugin.simulation.runtime import import_extra, run_tasks

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 1  # raise it when the same settings give other bytes
_DESCRIPTION_NAME = "recordings.json"

_SUFFIXES = {".wav", ".flac", ".ogg"}
_SILENCE = 1e-4  # root mean square, below the noise of 16-bit recordings


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

    The folder has the layout of MiniVox, with a `recordings.json`, and is kept
    or replaced by the same rules.

    Arguments
    ---------
    clean_folder : str or Path
        Folder with a folder for each speaker, and in it, at any depth, WAV,
        FLAC or OGG files at any rate.
    folder : str or Path
        The corpus' folder.
    num_recordings : int
        Recordings for each speaker; fewer for one with fewer utterances.
    num_trial_speakers : int
        How many speakers, drawn at random, are for the trials only: 0, or at
        least 2. Genders are not known, so impostors are of any.
    num_trials : int
        Number of trials, half of them target trials.
    seed : int
        Seed of everything.
    num_jobs : int, optional
        Number of processes; None takes one for each core. Several need a
        calling script to have an `if __name__ == "__main__":` guard.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        The clean folder holds no speech.
    ValueError
        A number is out of range, or an utterance is silent.
    FileExistsError
        The folder holds anything that is not such a corpus.
    RuntimeError
        The demo extra is missing.
    """
    clean_folder, folder = Path(clean_folder), Path(folder)
    speech = find_speech(clean_folder)
    _check_numbers(num_recordings, num_trial_speakers, len(speech))
    description = {
        "corpus": "simulated recordings",
        "format_version": _FORMAT_VERSION,
        "num_files": sum(map(len, speech.values())),
        "clean_speech": speech_fingerprint(clean_folder, speech),
        "num_recordings": num_recordings,
        "num_trial_speakers": num_trial_speakers,
        "num_trials": num_trials,
        "seed": seed,
    }
    if has_corpus(folder, _DESCRIPTION_NAME, description):
        logger.info("The simulated recordings are already in %s", folder)
        return folder
    import_extra("pyroomacoustics")
    tasks = _divide(speech, num_recordings, seed)
    with corpus_in_progress(
        folder, _DESCRIPTION_NAME, description
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
            f"Expected num_recordings of at least 1, got {num_recordings}: "
            "change num_recordings."
        )
    if num_trial_speakers != 0 and not 2 <= num_trial_speakers <= num_speakers:
        raise ValueError(
            f"Expected num_trial_speakers of 0, or between 2 and "
            f"{num_speakers}, the number of speakers, got "
            f"{num_trial_speakers}: change num_trial_speakers."
        )


class CleanRecordingTask(NamedTuple):
    """Recording to make: its speaker, its number and its utterances."""

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
            own = order[recording::num_recordings]
            tasks.append(CleanRecordingTask(speaker, index, recording, own))
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
    write_lists(folder, genders, trial_speakers, num_trials, rng)


def find_speech(folder: Path) -> dict[str, list[Path]]:
    """Find the utterances of each speaker.

    Arguments
    ---------
    folder : Path
        Folder with a folder for each speaker.

    Returns
    -------
    dict of str to list of Path
        For each speaker's name, the sorted files below its folder.

    Raises
    ------
    FileNotFoundError
        There are no such files.
    """
    speech: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/**/*")):
        if path.suffix.lower() in _SUFFIXES:
            speaker = path.relative_to(folder).parts[0]
            speech.setdefault(speaker, []).append(path)
    if not speech:
        raise FileNotFoundError(
            f"Expected <speaker>/<utterance>.wav, .flac or .ogg in {folder}, "
            "got no such file: change clean_folder."
        )
    return speech


def read_speech(path: Path) -> NDArray[np.float64]:
    """Read an utterance as 16 kHz mono.

    Arguments
    ---------
    path : Path
        Audio file at any rate, with any number of channels.

    Returns
    -------
    numpy.ndarray
        `(samples,)`, the waveform.

    Raises
    ------
    ValueError
        The file is empty or silent.
    """
    channels, rate = soundfile.read(path, dtype="float64", always_2d=True)
    waveform = channels.mean(axis=1)
    if not len(waveform) or np.sqrt(np.mean(waveform**2)) < _SILENCE:
        raise ValueError(
            f"Expected speech in {path}, got an empty or silent file, for "
            "which no signal-to-noise ratio can be set: remove it from "
            "clean_folder."
        )
    if rate == SAMPLE_RATE:
        return waveform
    return resample_poly(waveform, SAMPLE_RATE, rate)


def speech_fingerprint(folder: Path, speech: dict[str, list[Path]]) -> str:
    """Return a SHA-256 of the files' names and sizes, to notice a change.

    Arguments
    ---------
    folder : Path
        Folder to which the names are relative.
    speech : dict of str to list of Path
        As `find_speech` returns it.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for utterances in speech.values():
        for path in utterances:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()
