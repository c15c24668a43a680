"""A tiny MiniVox that the tests of this folder share."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ssps_plugin.simulation import make_minivox

TINY = {
    "num_speakers": 4,
    "num_trial_speakers": 2,
    "num_recordings": 2,
    "num_utterances": 2,
    "min_seconds": 1.0,
    "max_seconds": 1.5,
    "num_trials": 12,
    "seed": 7,
}


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, float]:
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_minivox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation") / "minivox"
    return make_minivox(folder, **TINY, num_jobs=1)


@pytest.fixture(scope="session")
def digest() -> Callable[[Path], dict[str, str]]:
    """A function that maps each file below a folder to a hash of its bytes."""

    def digest_folder(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return digest_folder
