import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio.audio_check import check_audio
from ssps_plugin.dataio.audio_file import (
    AudioError,
    EmptyAudioError,
    TruncatedAudioError,
)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_whole_file_passes_with_its_length(write_noise, suffix, rate):
    path = write_noise(f"a.{suffix}", 1.5, rate=rate, channels=2)
    assert check_audio(path) == 1.5


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_found_out(write_noise, truncate, suffix, share):
    path = truncate(write_noise(f"a.{suffix}", 3.0), share)
    with pytest.raises(TruncatedAudioError, match=path):
        check_audio(path)


def test_a_long_file_is_not_decoded(write_noise, count_reads):
    path = write_noise("a.wav", 60.0)
    check_audio(path)
    assert count_reads == [(path, 1)]


def test_a_wav_written_to_a_pipe_passes(write_noise):
    path = write_noise("a.wav", 1.0)
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(b"\xff\xff\xff\xff")  # ffmpeg's "length unknown"
    assert check_audio(path) == 1.0


def test_an_empty_file_is_told_from_an_unreadable_one(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    (tmp_path / "garbage.flac").write_bytes(b"fLaC no")
    with pytest.raises(EmptyAudioError) as empty:
        check_audio(tmp_path / "empty.wav")
    with pytest.raises(AudioError) as garbage:
        check_audio(tmp_path / "garbage.flac")
    assert empty.value.reason == "empty"
    assert garbage.value.reason == "unreadable"
