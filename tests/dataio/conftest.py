"""Audio files written on the fly, and the reads of them."""

import numpy as np
import pytest
import soundfile


@pytest.fixture
def touch(tmp_path):
    """Make empty files, and the folders that they are in."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def write_ramp(tmp_path):
    """Write a file in which sample n has the value n."""

    def write(name, num_samples, rate=16000, channels=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.arange(num_samples, dtype=np.float32)
        if channels > 1:
            ramp = np.stack([ramp] * channels, axis=1)
        soundfile.write(path, ramp, rate, subtype="FLOAT")
        return str(path)

    return write


@pytest.fixture
def write_noise(tmp_path):
    """Write white noise at 0.1 RMS, in any format."""

    def write(name, seconds, rate=16000, seed=0, channels=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        shape = (round(seconds * rate), channels)
        soundfile.write(path, 0.1 * rng.standard_normal(shape), rate)
        return str(path)

    return write


@pytest.fixture
def truncate():
    """Keep only a fraction of a file's bytes, from its start."""

    def cut(path, fraction):
        with open(path, "rb") as file:
            content = file.read()
        with open(path, "wb") as file:
            file.write(content[: int(len(content) * fraction)])
        return path

    return cut


@pytest.fixture
def count_reads(monkeypatch):
    """List (path, frames) of each read of an audio file."""
    reads = []
    original = soundfile.SoundFile.read

    def read(self, frames=-1, *args, **kwargs):
        reads.append((self.name, frames))
        return original(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    return reads
