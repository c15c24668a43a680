"""Claims about reading audio, and finding what cannot be read."""

import errno
import logging
import os
import pickle

import numpy as np
import pytest
import soundfile
import torch
from torch._utils import ExceptionWrapper

from ssps_plugin.dataio import audio
from ssps_plugin.dataio.audio import (
    AudioError,
    EmptyAudioError,
    TruncatedAudioError,
    audio_seconds,
    check_audio,
    read_audio,
    tile,
)


@pytest.fixture
def warnings_of(monkeypatch):
    seen = []
    monkeypatch.setattr(audio, "_warned_paths", set())
    monkeypatch.setattr(
        audio.logger, "warning", lambda text, *args: seen.append(text % args)
    )
    return seen


def test_reads_the_stretch_that_was_asked_for(write_ramp):
    path = write_ramp("a.wav", 48000)
    stretch = read_audio(path, start_seconds=1.5, seconds=0.5)
    assert torch.equal(stretch, torch.arange(24000.0, 32000.0))


def test_decodes_no_more_than_the_stretch(write_ramp, count_reads):
    path = write_ramp("a.wav", 48000)
    read_audio(path, start_seconds=1.5, seconds=0.5)
    assert count_reads == [(path, 8000)]


def test_reads_to_the_end_without_a_length(write_ramp):
    path = write_ramp("a.wav", 20000)
    rest = read_audio(path, start_seconds=1.0)
    assert torch.equal(rest, torch.arange(16000.0, 20000.0))


def test_stereo_is_mixed_down_to_its_mean(tmp_path):
    path = tmp_path / "stereo.wav"
    left_right = np.tile([[0.5, -0.25]], (100, 1))
    soundfile.write(path, left_right, 16000, subtype="FLOAT")
    assert torch.equal(read_audio(path), torch.full((100,), 0.125))
    assert torch.equal(read_audio(path, channel=1), torch.full((100,), -0.25))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_tone_keeps_its_pitch_and_level_from_any_rate(tmp_path, rate):
    path = tmp_path / "tone.wav"
    time = np.arange(2 * rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, tone, rate, subtype="FLOAT")
    stretch = read_audio(path, start_seconds=0.5, seconds=1.0)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    # The edges lack their neighbours: compare the rest.
    assert len(stretch) == 16000
    assert np.abs(stretch.numpy() - expected).max() < 5e-3


RATES = [8000, 11025, 11127, 22050, 44100, 48000]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate", RATES)
def test_a_sample_is_the_same_whatever_the_stretch_it_is_in(
    tmp_path, rate, suffix
):
    path = tmp_path / f"noise.{suffix}"
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * rate)
    soundfile.write(path, noise, rate)
    whole = read_audio(path)
    all_of_it = read_audio(path, 0.0, 3.0)
    assert (all_of_it - whole).abs().max() < 1e-6
    rng = np.random.default_rng(1)
    for first in [0, 1, 48000 - 700, *rng.integers(0, 40000, 6)]:
        count = int(rng.integers(1, 48001 - first))
        stretch = read_audio(path, first / 16000, count / 16000)
        assert torch.equal(stretch, all_of_it[first : first + count])


def test_a_stretch_past_the_end_is_moved_back_at_another_rate(
    tmp_path, warnings_of
):
    path = tmp_path / "noise.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal(20001)
    soundfile.write(path, noise, 22050)
    total = -(-20001 * 16000 // 22050)
    end = read_audio(path, 0.5, 0.5)
    assert torch.equal(end, read_audio(path, (total - 8000) / 16000, 0.5))
    # Longer than the file: repeated.
    long = read_audio(path, 0.3, 2.0)
    assert torch.equal(long[total : 2 * total], long[:total])
    assert len(warnings_of) == 1


@pytest.mark.parametrize("start_seconds", [0.0, 2.0, 7.0])
def test_a_truncated_file_of_another_rate_gives_what_is_there(
    write_noise, truncate, warnings_of, start_seconds
):
    path = write_noise("a.flac", 8.0, rate=22050)
    whole = read_audio(path)
    truncate(path, 0.5)
    stretch = read_audio(path, start_seconds, seconds=1.0)
    assert len(stretch) == 16000 and stretch.abs().max() > 0.01
    if start_seconds < 3.5:
        first = int(start_seconds * 16000)
        there = whole[first : first + 16000]
        assert (stretch - there).abs().max() < 1e-6
    assert len(warnings_of) == (start_seconds == 7.0)


@pytest.mark.parametrize("rate", [8000, 11127, 44100])
def test_a_stretch_just_before_the_end_of_a_truncated_file_is_there(
    write_noise, truncate, rate
):
    path = write_noise("a.flac", 4.0, rate=rate)
    whole = read_audio(path)
    truncate(path, 0.5)
    end = audio._count_frames(path) / rate
    for before in (0.001, 0.02, 0.1, 0.3):
        first = round((end - before - 0.5) * 16000)
        stretch = read_audio(path, first / 16000, 0.5)
        difference = stretch - whole[first : first + 8000]
        assert difference[:-200].abs().max() < 1e-5


def test_a_short_file_is_repeated_without_a_warning(write_ramp, warnings_of):
    path = write_ramp("a.wav", 3)
    wrapped = read_audio(path, seconds=7 / 16000)
    assert wrapped.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert warnings_of == []


def test_a_stretch_past_the_end_is_moved_back_into_the_file(
    write_ramp, warnings_of
):
    path = write_ramp("a.wav", 32000)
    stretch = read_audio(path, start_seconds=5.0, seconds=1.0)
    assert torch.equal(stretch, torch.arange(16000.0, 32000.0))
    assert len(warnings_of) == 1
    assert path in warnings_of[0]


@pytest.mark.parametrize("start_seconds", [0.0, 3.5, 7.0])
def test_a_truncated_flac_gives_what_is_there_and_warns_once(
    write_noise, truncate, warnings_of, start_seconds
):
    path = write_noise("a.flac", 8.0)
    whole = read_audio(path)
    truncate(path, 0.5)
    for _ in range(2):
        stretch = read_audio(path, start_seconds, seconds=1.0)
    position = _find(whole, stretch)
    assert position == start_seconds * 16000 or position + 16000 < 4.1 * 16000
    assert len(warnings_of) == (start_seconds + 1 > 4)


def _find(whole, stretch):
    """Return the first place where `stretch` starts in `whole`."""
    windows = whole.unfold(0, 8, 1)
    hits = (windows == stretch[:8]).all(dim=1).nonzero()
    assert len(hits) == 1
    start = int(hits[0])
    assert torch.equal(whole[start : start + len(stretch)], stretch)
    return start


def test_a_wav_that_shrank_since_its_manifest_gives_what_is_there(
    write_ramp, truncate, warnings_of
):
    path = truncate(write_ramp("a.wav", 128000), 0.5)
    stretch = read_audio(path, start_seconds=6.0, seconds=1.0)
    assert 40000 < stretch[0] < 64000
    assert torch.equal(stretch, torch.arange(16000) + stretch[0])
    assert len(warnings_of) == 1


def test_a_flac_without_one_sample_that_decodes_is_an_error(
    write_noise, truncate
):
    path = truncate(write_noise("a.flac", 8.0), 0.01)
    with pytest.raises(TruncatedAudioError, match=path):
        read_audio(path, 1.0, 1.0)


def test_garbage_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "garbage.wav"
    path.write_bytes(b"no audio at all")
    with pytest.raises(AudioError, match="garbage.wav.*Format not recognised"):
        read_audio(path)


def test_a_missing_file_is_an_error_that_says_so(tmp_path):
    with pytest.raises(AudioError, match="gone.wav: there is no such file"):
        read_audio(tmp_path / "gone.wav")


def test_a_file_of_zero_bytes_is_an_error(tmp_path):
    (tmp_path / "zero.wav").touch()
    with pytest.raises(AudioError, match="zero.wav"):
        read_audio(tmp_path / "zero.wav")


def test_a_header_without_samples_is_an_error(tmp_path):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(EmptyAudioError, match="empty.wav holds no audio"):
        read_audio(path)


def test_seconds_come_from_the_header(write_noise, count_reads):
    assert audio_seconds(write_noise("a.ogg", 1.25, rate=8000)) == 1.25
    assert count_reads == []


def test_tile_wraps_around():
    assert tile(torch.tensor([1, 2]), 5).tolist() == [1, 2, 1, 2, 1]
    assert tile(torch.tensor([1, 2, 3]), 2).tolist() == [1, 2]


def test_an_error_crosses_from_a_worker_with_its_message(tmp_path):
    try:
        read_audio(tmp_path / "gone.wav")
    except AudioError:
        wrapped = ExceptionWrapper(where="in a worker")
    with pytest.raises(AudioError, match="there is no such file"):
        pickle.loads(pickle.dumps(wrapped)).reraise()


def test_warnings_go_to_the_log(write_ramp, caplog, monkeypatch):
    monkeypatch.setattr(audio, "_warned_paths", set())
    with caplog.at_level(logging.WARNING):
        read_audio(write_ramp("a.wav", 16000), 3.0, 0.5)
    assert "expected 56000 frames, got 16000" in caplog.text


def test_samples_that_are_not_finite_are_silence_and_the_file_is_named(
    tmp_path, warnings_of
):
    path = tmp_path / "broken.wav"
    samples = np.full(100, 0.5, dtype=np.float32)
    samples[10], samples[20], samples[30] = np.nan, np.inf, -np.inf
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    for _ in range(2):
        read = read_audio(path)
    expected = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    assert torch.equal(read, torch.from_numpy(expected))
    (warning,) = warnings_of
    assert "holds samples that are not finite" in warning
    assert "broken.wav" in warning


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_whole_file_passes_with_its_length(write_noise, suffix, rate):
    path = write_noise(f"a.{suffix}", 1.5, rate=rate, channels=2)
    assert check_audio(path) == 1.5


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.99])
def test_a_truncated_file_is_an_error(write_noise, truncate, suffix, fraction):
    path = truncate(write_noise(f"a.{suffix}", 3.0), fraction)
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


@pytest.mark.parametrize("absurd", [1e30, -1e12, 2.0**31 * 1.001])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_beyond_any_recording_are_silence_and_the_file_is_named_once(
    tmp_path, warnings_of, absurd, subtype
):
    path = tmp_path / "absurd.wav"
    samples = np.full(100, 0.5)
    samples[10] = absurd
    soundfile.write(path, samples, 16000, subtype=subtype)
    for _ in range(2):
        read = read_audio(path)
    samples[10] = 0.0
    assert torch.equal(read, torch.from_numpy(samples).float())
    (warning,) = warnings_of
    assert "absurd.wav" in warning and "beyond any recording's" in warning


def test_floats_that_are_scaled_as_32_bit_integers_stay(tmp_path, warnings_of):
    path = tmp_path / "integers.wav"
    samples = np.array([-(2.0**31), 2.0**31 - 128, 32767.0, 0.5], np.float32)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    assert read_audio(path).tolist() == samples.tolist()
    assert warnings_of == []


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "GSM610"),
        ("WAV", "G721_32"),
        ("WAV", "NMS_ADPCM_16"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("AU", "G723_24"),
        ("W64", "GSM610"),
        ("WAV", "ULAW"),
    ],
)
def test_codecs_that_cannot_seek_are_read_where_they_were_asked_to(
    tmp_path, warnings_of, format, subtype
):
    path = str(tmp_path / "call.wav")
    tone = 0.5 * np.sin(np.arange(40000) * 0.05)
    soundfile.write(path, tone, 8000, format=format, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32")
    assert check_audio(path) == audio_seconds(path) == len(whole) / 8000
    stretch = read_audio(path, 2.0, 1.5, sample_rate=8000)
    assert stretch.tolist() == whole[16000:28000].tolist()
    everything = read_audio(path, sample_rate=8000)
    assert everything.tolist() == whole.tolist()
    assert warnings_of == []


def test_a_codec_that_cannot_seek_and_lost_its_end_is_truncated(
    tmp_path, truncate, monkeypatch
):
    path = str(tmp_path / "call.wav")
    soundfile.write(path, np.zeros(40000), 8000, subtype="GSM610")
    with pytest.raises(TruncatedAudioError, match="call.wav is truncated"):
        check_audio(truncate(path, 0.5))


def _promise(path, num_bytes):
    """Write how many bytes of samples a WAV's header promises."""
    with open(path, "r+b") as file:
        place = file.read(4096).index(b"data")
        file.seek(place + 4)
        file.write(num_bytes.to_bytes(4, "little"))


@pytest.mark.parametrize("num_bytes", [1, 2, 16, 100])
def test_a_header_that_promises_a_few_bytes_too_many_passes(
    write_noise, warnings_of, num_bytes
):
    path = write_noise("a.wav", 2.5)
    whole = read_audio(path)
    _promise(path, 80000 + num_bytes)
    assert check_audio(path) == 2.5
    assert torch.equal(read_audio(path), whole)
    assert torch.equal(read_audio(path, 1.5, 1.0), whole[24000:])
    assert warnings_of == []


def test_a_header_that_promises_50_ms_too_many_is_truncated(write_noise):
    path = write_noise("a.wav", 2.5)
    _promise(path, 80000 + 1600)
    with pytest.raises(TruncatedAudioError, match="promises 81600 bytes"):
        check_audio(path)


@pytest.mark.parametrize("num_bytes", [0, 1, 8000, 79 * 1000])
def test_what_a_header_does_not_promise_is_read_with_a_warning(
    write_noise, warnings_of, num_bytes
):
    path = write_noise("a.wav", 2.5)
    whole = read_audio(path)
    _promise(path, num_bytes)
    if num_bytes == 79000:  # the last 31 ms are no reason to look further
        assert check_audio(path) == 79000 / 32000
        return
    assert check_audio(path) == audio_seconds(path) == 2.5
    assert torch.equal(read_audio(path, 1.0, 1.5), whole[16000:])
    (warning,) = warnings_of
    assert path in warning and "more than its header promises" in warning


@pytest.mark.parametrize(
    "trailer",
    [
        b"LIST" + (2000).to_bytes(4, "little") + b"x" * 2000,
        b"ID3\x03" + b"\x01" * 2000,
        b"\0" * 5000,
        b"\x07" * 900,
    ],
)
def test_what_follows_the_samples_of_a_good_file_is_not_read(
    write_noise, warnings_of, trailer
):
    path = write_noise("a.wav", 2.5)
    whole = read_audio(path)
    with open(path, "ab") as file:
        file.write(trailer)
    assert check_audio(path) == 2.5
    assert torch.equal(read_audio(path), whole)
    assert warnings_of == []


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "itself.wav").symlink_to(tmp_path / "itself.wav")
    for name in ("pipe", "link", "folder", "itself"):
        for function in (read_audio, check_audio, audio_seconds):
            with pytest.raises(AudioError, match=f"{name}.wav"):
                function(tmp_path / f"{name}.wav")
    with pytest.raises(AudioError, match=r"a FIFO \(named pipe\)"):
        check_audio(tmp_path / "link.wav")


def test_a_header_with_a_rate_that_no_voice_has_is_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8)
    with pytest.raises(AudioError, match="at least 1000 Hz, got 8 Hz.*a.wav"):
        check_audio(tmp_path / "a.wav")


def _fail(monkeypatch, name, times):
    """Make a method of SoundFile fail so many times with EIO."""
    original = getattr(soundfile.SoundFile, name)
    failures = iter(range(times))

    def method(self, *args, **kwargs):
        if next(failures, None) is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, name, method)


@pytest.mark.parametrize("name", ["__init__", "read", "seek"])
def test_a_read_that_fails_once_is_tried_again(
    write_ramp, monkeypatch, warnings_of, name
):
    path = write_ramp("a.wav", 48000)
    _fail(monkeypatch, name, 1)
    stretch = read_audio(path, 1.5, 0.5)
    assert torch.equal(stretch, torch.arange(24000.0, 32000.0))
    _fail(monkeypatch, name, 1)
    assert check_audio(path) == 3.0
    assert warnings_of == []


def test_a_read_that_fails_for_good_is_an_error_that_names_the_file(
    write_ramp, monkeypatch
):
    path = write_ramp("a.wav", 48000)
    monkeypatch.setattr(audio, "RETRY_WAITS", (0.0,))
    _fail(monkeypatch, "__init__", 1000)
    with pytest.raises(AudioError, match="a.wav.*Input/output error"):
        read_audio(path, waits=(0.0, 0.0))
    with pytest.raises(AudioError, match="a.wav.*Input/output error"):
        check_audio(path)
