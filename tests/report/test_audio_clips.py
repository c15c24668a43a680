"""Clips are short, and in a format that browsers play."""

import base64
import io

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.report import audio_clips
from ssps_plugin.report.audio_clips import encode_audio, read_clip


def write_tone(path, seconds, rate=16000, level=0.01):
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, level * np.sin(2 * np.pi * 440 * time), rate)
    return path


def decode(address):
    head, _, content = address.partition(";base64,")
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    return head, samples, rate


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_clip_is_the_middle_of_a_recording_at_a_common_level(tmp_path, rate):
    path = write_tone(tmp_path / "a.wav", 10, rate)
    head, samples, decoded_rate = decode(read_clip(path))
    assert head == "data:audio/mpeg" and decoded_rate == 16000
    assert len(samples) / decoded_rate == pytest.approx(3.0, abs=0.1)
    assert np.abs(samples).max() == pytest.approx(0.7, abs=0.1)
    assert len(read_clip(path)) < 60_000


def test_short_and_silent_recordings_are_clips_too(tmp_path):
    _, samples, rate = decode(read_clip(write_tone(tmp_path / "a.wav", 0.4)))
    assert 0.3 < len(samples) / rate < 0.6
    _, samples, _ = decode(
        read_clip(write_tone(tmp_path / "b.wav", 1, level=0))
    )
    assert np.abs(samples).max() < 1e-3


def test_formats_that_cannot_be_written_are_passed_over(monkeypatch):
    samples = np.zeros(1600, np.float32)
    formats = [("NONE", "MPEG_LAYER_III", "x"), *audio_clips._FORMATS[1:]]
    monkeypatch.setattr(audio_clips, "_FORMATS", formats)
    content, media_type = encode_audio(samples, 16000)
    assert media_type == "audio/ogg" and content.startswith(b"OggS")
    monkeypatch.setattr(audio_clips, "_FORMATS", formats[:1] + formats[2:])
    content, media_type = encode_audio(samples, 16000)
    assert media_type == "audio/wav" and content.startswith(b"RIFF")


def test_missing_recording_is_an_audio_error(tmp_path):
    with pytest.raises((AudioError, OSError)):
        read_clip(tmp_path / "none.wav")
