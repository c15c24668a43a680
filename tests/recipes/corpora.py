"""Tiny corpora of noise, for recipes that are run to their end."""

import pathlib

import numpy as np
import soundfile

RATE = 16000


def write_corpus(
    folder: pathlib.Path,
    num_speakers: int = 8,
    num_recordings: int = 3,
    num_utterances: int = 2,
    seconds: float = 0.6,
    suffix: str = ".wav",
    rate: int = RATE,
) -> pathlib.Path:
    """Write `wav/<speaker>/<recording>/<utterance>` and return the folder.

    A speaker is a pitch, a recording a level of noise: enough to learn from.
    """
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    for speaker in range(num_speakers):
        for recording in range(num_recordings):
            place = folder / "wav" / f"id{speaker:03d}" / f"rec{recording}"
            place.mkdir(parents=True)
            for utterance in range(num_utterances):
                pitch = 150 + 60 * speaker + rng.normal(0, 5)
                wave = np.sign(np.sin(2 * np.pi * pitch * time))
                noise = rng.normal(0, 0.05 * (1 + recording), len(time))
                path = place / f"{utterance:05d}{suffix}"
                soundfile.write(path, 0.2 * wave + noise, rate)
    return folder
