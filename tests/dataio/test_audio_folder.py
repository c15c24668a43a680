import numpy as np
import pytest
import torch

from ssps_plugin.dataio.audio_folder import AudioFolder


def test_a_stretch_is_read_and_no_more(tmp_path, write_ramp, count_reads):
    write_ramp("noise/deep/er/a.wav", 160000)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    count_reads.clear()
    rng = np.random.default_rng(0)
    stretches = [folder.draw_stretch(16000, rng) for _ in range(20)]
    assert {frames for _, frames in count_reads} == {16000}
    for stretch in stretches:
        assert torch.equal(stretch, torch.arange(16000) + stretch[0])
    assert len({int(stretch[0]) for stretch in stretches}) == 20


def test_a_short_file_is_repeated(tmp_path, write_ramp):
    write_ramp("noise/a.wav", 100)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    stretch = folder.draw_stretch(250, np.random.default_rng(0))
    assert torch.equal(stretch, torch.arange(250) % 100)


def test_every_file_is_drawn(tmp_path, write_noise):
    for n in range(5):
        write_noise(f"noise/{n}.flac", 0.1, seed=n)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    rng = np.random.default_rng(0)
    firsts = {float(folder.draw_file(rng)[0]) for _ in range(60)}
    assert len(firsts) == 5


def test_files_that_cannot_be_read_whole_are_left_out(
    tmp_path, write_noise, truncate
):
    good = write_noise("noise/good.wav", 1.0)
    truncate(write_noise("noise/cut.flac", 1.0), 0.3)
    (tmp_path / "noise" / "garbage.wav").write_bytes(b"garbage")
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    assert folder.paths == [good]


def test_a_missing_folder_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="change rir_folder"):
        AudioFolder(tmp_path / "absent", "rir_folder")


def test_a_folder_without_audio_names_the_key(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(ValueError, match="got 0 such files.*noise_folder"):
        AudioFolder(tmp_path, "noise_folder")


def test_the_next_start_opens_no_file(
    tmp_path, monkeypatch, write_noise, count_reads
):
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(tmp_path / "cache"))
    for name in ("a.wav", "deep/er/b.flac"):
        write_noise(f"noise/{name}", 1.0)
    first = AudioFolder(tmp_path / "noise", "noise_folder")
    count_reads.clear()
    second = AudioFolder(tmp_path / "noise", "noise_folder")
    assert count_reads == []
    assert second.paths == first.paths
    assert second.seconds.tolist() == first.seconds.tolist() == [1.0, 1.0]


def test_names_of_several_lines_are_drawn_too(
    tmp_path, monkeypatch, write_noise
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(cache))
    path = write_noise("noise/a\nb.wav", 1.0)
    folder = AudioFolder(tmp_path / "noise", "noise_folder")
    assert folder.paths == [path]
    assert not cache.exists()


@pytest.mark.parametrize("local_rank", [0, 1])
def test_one_process_of_a_machine_writes_the_cache(
    tmp_path, monkeypatch, write_noise, local_rank
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("SSPS_PLUGIN_CACHE", str(cache))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    write_noise("noise/a.wav", 1.0)
    AudioFolder(tmp_path / "noise", "noise_folder")
    assert cache.exists() == (local_rank == 0)
