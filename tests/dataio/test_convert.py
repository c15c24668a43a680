"""Conversion of .m4a, by files that the test encodes itself."""

import errno
import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from ssps_plugin.dataio import convert
from ssps_plugin.dataio.convert import convert_folder
from ssps_plugin.dataio.corpus import Corpus

av = pytest.importorskip("av")
RATE = 44100


@pytest.fixture(autouse=True)
def without_ffmpeg(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)


def write_m4a(path, seconds=1.0, frequency=440.0):
    """Encode a stereo sine as AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    sine = np.sin(2 * np.pi * frequency * times).astype(np.float32)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        for start in range(0, len(sine), 1024):
            block = np.stack([0.5 * sine[start : start + 1024]] * 2)
            frame = av.AudioFrame.from_ndarray(block, "fltp", "stereo")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "dev" / "aac"
    for speaker in ("id00012", "id00015"):
        write_m4a(folder / speaker / "video" / "00001.m4a")
    return tmp_path


@pytest.mark.parametrize("format", ["flac", "wav"])
def test_a_converted_corpus_is_the_same_speech_at_16_khz_mono(
    source, tmp_path, format
):
    target = tmp_path / "converted"
    done = convert_folder(source / "dev", target, format, num_threads=2)
    assert (done.num_converted, done.failed) == (2, {})
    files = Corpus(target).files()
    assert [file.speaker for file in files] == ["id00012", "id00015"]
    samples, rate = soundfile.read(target / files[0].path)
    assert rate == 16000 and samples.ndim == 1
    assert len(samples) == pytest.approx(16000, abs=2500)  # AAC pads
    middle = samples[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * 2.0 == pytest.approx(440, abs=4)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.1)


def test_a_second_run_converts_only_what_is_missing(source, tmp_path):
    target = tmp_path / "converted"
    convert_folder(source / "dev", target)
    first, second = (target / file.path for file in Corpus(target).files())
    written = first.stat().st_mtime_ns
    second.unlink()
    done = convert_folder(source / "dev", target)
    assert (done.num_converted, done.num_kept) == (1, 1)
    assert second.exists() and first.stat().st_mtime_ns == written


def test_what_cannot_be_converted_is_listed_and_the_others_go_on(
    source, tmp_path
):
    broken = source / "dev/aac/id00012/video/00002.m4a"
    broken.write_bytes(b"no audio at all")
    target = tmp_path / "converted"
    done = convert_folder(source / "dev", target)
    assert done.num_converted == 2
    assert list(done.failed) == ["aac/id00012/video/00002.m4a"]
    assert "00002.m4a" in (target / "not_converted.txt").read_text()
    assert not list(target.rglob("*.tmp"))
    assert convert.main([str(source / "dev"), str(target)]) == 1


def test_a_full_disk_ends_it_and_leaves_nothing_half_written(
    source, tmp_path, monkeypatch
):
    for number in range(2, 30):
        write_m4a(source / f"dev/aac/id00012/video/{number:05d}.m4a", 0.2)
    target, write_bytes = tmp_path / "converted", pathlib.Path.write_bytes
    written = []

    def until_full(path, content):
        written.append(path)
        if len(written) < 4:
            return write_bytes(path, content)
        write_bytes(path, bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "write_bytes", until_full)
        with pytest.raises(OSError, match=r"No room left in .*converted") as e:
            convert_folder(source / "dev", target, num_threads=1)
    assert e.value.errno == errno.ENOSPC
    assert len(written) < 10  # the other files were not tried
    left = [path for path in target.rglob("*") if path.is_file()]
    assert len(left) == 3
    assert all(soundfile.info(path).frames > 0 for path in left)
    done = convert_folder(source / "dev", target)
    assert (done.num_converted, done.num_kept) == (27, 3)


def test_a_folder_without_convert_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to convert"):
        convert_folder(tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no folder at"):
        convert_folder(tmp_path / "absent", tmp_path / "out")


def test_another_format_is_an_error(source, tmp_path):
    with pytest.raises(ValueError, match="Expected format flac or wav"):
        convert_folder(source, tmp_path / "out", format="mp3")


def test_without_a_decoder_the_error_says_what_to_install(
    source, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(RuntimeError, match=r"pip install 'ssps_plugin\[m4a\]'"):
        convert_folder(source, tmp_path / "out")
