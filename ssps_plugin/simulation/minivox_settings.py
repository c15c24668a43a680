"""The settings of MiniVox."""

from dataclasses import asdict, dataclass
from typing import Any

FORMAT_VERSION = 2  # raise it when the same settings give other bytes


@dataclass(frozen=True)
class MiniVoxSettings:
    """What determines the bytes of a MiniVox.

    Arguments
    ---------
    num_speakers : int
        Number of speakers, women and men in turn.
    num_trial_speakers : int
        How many of them, the last ones, are kept for the trials.
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
        If a number is out of its range.
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
                    f"{name} must be at least {lowest}, got {value}."
                )
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                "Expected 0 < min_seconds <= max_seconds, got "
                f"{self.min_seconds} and {self.max_seconds}."
            )

    def description(self) -> dict[str, Any]:
        """The content of ``minivox.json``."""
        num_recordings = self.num_speakers * self.num_recordings
        return {
            "corpus": "MiniVox",
            "format_version": FORMAT_VERSION,
            "num_files": num_recordings * self.num_utterances,
            **asdict(self),
        }
