"""MiniVox: a synthetic corpus in VoxCeleb's layout.

Speaker and recording are independent factors, and neither changes within an
utterance: a small model of the problem that positive sampling solves.
"""

import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
from ssps_plugin.simulation.voices import Speaker, draw_speakers

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 2  # raise it when the same settings give other bytes
_DESCRIPTION_NAME = "minivox.json"

# Spoken before an utterance starts, so that it starts within an echo.
_LEAD_SECONDS = 0.3


@dataclass(frozen=True)
class MiniVoxSettings:
    """Settings that determine the bytes of a MiniVox.

    Arguments
    ---------
    num_speakers : int
        Number of speakers, women and men in turn.
    num_trial_speakers : int
        How many of them, the last ones, are for the trials only.
    num_recordings : int
        Recordings per speaker, each in a condition of its own.
    num_utterances : int
        Utterances per recording.
    min_seconds, max_seconds : float
        Range of the utterances' lengths.
    num_trials : int
        Number of trials, half of them target trials.
    seed : int
        Seed of everything.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    num_speakers: int = 130
    num_trial_speakers: int = 30
    num_recordings: int = 12
    num_utterances: int = 3
    min_seconds: float = 2.0
    max_seconds: float = 3.0
    num_trials: int = 10000
    seed: int = 1

    def __post_init__(self) -> None:
        for name, lowest in (
            ("num_trial_speakers", 2),
            ("num_speakers", self.num_trial_speakers + 1),
            ("num_recordings", 2),
            ("num_utterances", 1),
            ("num_trials", 2),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value < lowest:
                raise ValueError(
                    f"Expected {name} of at least {lowest}, got {value}: "
                    f"change {name}."
                )
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                "Expected 0 < min_seconds <= max_seconds, got "
                f"{self.min_seconds} and {self.max_seconds}: change them."
            )

    def description(self) -> dict[str, Any]:
        """Return the content of `minivox.json`."""
        num_recordings = self.num_speakers * self.num_recordings
        return {
            "corpus": "MiniVox",
            "format_version": _FORMAT_VERSION,
            "num_files": num_recordings * self.num_utterances,
            **asdict(self),
        }


def make_minivox(
    folder: str | Path,
    num_speakers: int = 130,
    num_trial_speakers: int = 30,
    num_recordings: int = 12,
    num_utterances: int = 3,
    min_seconds: float = 2.0,
    max_seconds: float = 3.0,
    num_trials: int = 10000,
    seed: int = 1,
    num_jobs: int | None = None,
) -> Path:
    """Make the MiniVox corpus, unless it is there already.

    The folder gets `wav/<speaker>/<recording>/<utterance>.wav` (16 kHz mono,
    16 bit), `trials.txt` (`label enrolment test`, paths below `wav`),
    `speakers.csv` and `minivox.json` with the settings. The same settings
    give the same bytes, whatever the number of jobs. A MiniVox that is
    incomplete or has other settings is replaced.

    Arguments
    ---------
    folder : str or Path
        The corpus' folder.
    num_speakers, num_trial_speakers, num_recordings, num_utterances : int
        As in `MiniVoxSettings`.
    min_seconds, max_seconds : float
        Range of the utterances' lengths.
    num_trials : int
        Number of trials.
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
    ValueError
        A setting is out of range.
    FileExistsError
        The folder holds anything that is not a MiniVox.
    RuntimeError
        The demo extra is missing.
    """
    folder = Path(folder)
    settings = MiniVoxSettings(
        num_speakers=num_speakers,
        num_trial_speakers=num_trial_speakers,
        num_recordings=num_recordings,
        num_utterances=num_utterances,
        min_seconds=float(min_seconds),
        max_seconds=float(max_seconds),
        num_trials=num_trials,
        seed=seed,
    )
    description = settings.description()
    if has_corpus(folder, _DESCRIPTION_NAME, description):
        logger.info("MiniVox is already in %s", folder)
        return folder
    for name in ("espeakng_loader", "pyroomacoustics"):
        import_extra(name)
    logger.info("Making MiniVox in %s", folder)
    with corpus_in_progress(
        folder, _DESCRIPTION_NAME, description
    ) as unfinished:
        _write_corpus(unfinished, settings, num_jobs)
    return folder


def _write_corpus(
    folder: Path, settings: MiniVoxSettings, num_jobs: int | None
) -> None:
    speakers = draw_speakers(settings.num_speakers, settings.seed)
    tasks = [
        RecordingTask(speaker, index, recording)
        for index, speaker in enumerate(speakers)
        for recording in range(settings.num_recordings)
    ]
    run_tasks(
        partial(_write_recording, folder, settings), tasks, num_jobs, "MiniVox"
    )
    genders = {speaker.name: speaker.gender for speaker in speakers}
    write_lists(
        folder,
        genders,
        set(list(genders)[-settings.num_trial_speakers :]),
        settings.num_trials,
        np.random.default_rng([settings.seed, TRIAL_STREAM]),
    )


class RecordingTask(NamedTuple):
    """Recording to make: its speaker and its number."""

    speaker: Speaker
    speaker_index: int
    recording: int


def _write_recording(
    folder: Path, settings: MiniVoxSettings, task: RecordingTask
) -> None:
    rng = np.random.default_rng(
        [settings.seed, RECORDING_STREAM, task.speaker_index, task.recording]
    )
    name = draw_recording_name(rng)
    condition = draw_condition(rng)
    lead = round(_LEAD_SECONDS * SAMPLE_RATE)
    seconds = rng.uniform(
        settings.min_seconds, settings.max_seconds, settings.num_utterances
    )
    # Few distinct lengths, since utterances of one length are embedded together
    # and embedding takes most time of the verification after every epoch.
    seconds = seconds.round(1).clip(settings.min_seconds, settings.max_seconds)
    speech = task.speaker.speak(list(seconds + _LEAD_SECONDS), rng)
    for number, waveform in enumerate(speech, start=1):
        path = folder / "wav" / task.speaker.name / name / f"{number:05d}.wav"
        write_wav(path, condition.apply(waveform, rng)[lead:])
