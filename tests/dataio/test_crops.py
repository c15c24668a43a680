import numpy as np
import pytest
import torch

from ssps_plugin.dataio.crops import CropGroup, cut_crops


def _cut(path, seconds, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return cut_crops(path, seconds, lengths, rng)


def test_crops_are_stretches_within_the_utterance(write_ramp):
    path = write_ramp("a.wav", 16000)
    for seed in range(50):
        for crop in _cut(path, 1.0, [4000, 4000, 15999], seed):
            assert torch.equal(crop, torch.arange(len(crop)) + crop[0])
            assert crop[-1] < 16000


def test_crops_start_anywhere_and_independently(write_ramp):
    path = write_ramp("a.wav", 103)
    starts = [
        tuple(int(crop[0]) for crop in _cut(path, 103 / 16000, [100] * 2, seed))
        for seed in range(400)
    ]
    assert set(starts) == {(a, b) for a in range(4) for b in range(4)}


def test_one_read_from_the_earliest_start_to_the_latest_end(
    write_ramp, count_reads
):
    path = write_ramp("a.wav", 160000)
    crops = _cut(path, 10.0, [16000, 16000, 8000])
    first = min(int(crop[0]) for crop in crops)
    last = max(int(crop[-1]) for crop in crops)
    assert count_reads == [(path, last + 1 - first)]


def test_an_utterance_shorter_than_a_crop_is_repeated_for_it_only(write_ramp):
    path = write_ramp("a.wav", 100)
    short, long = _cut(path, 100 / 16000, [50, 250])
    assert torch.equal(long, torch.arange(250) % 100)
    assert torch.equal(short, torch.arange(50) + short[0])


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_crops_of_other_rates_lie_where_they_were_drawn(write_ramp, rate):
    same_rate = write_ramp("a.wav", 32000)
    other_rate = write_ramp("b.wav", 2 * rate, rate=rate)
    wanted = _cut(same_rate, 2.0, [8000, 12000])
    got = _cut(other_rate, 2.0, [8000, 12000])
    for crop, expected in zip(got, wanted, strict=True):
        middle = crop[1000:-1000] * 16000 / rate
        assert len(crop) == len(expected)
        assert (middle - expected[1000:-1000]).abs().max() < 60


def test_a_file_shorter_than_its_manifest_says_still_gives_crops(write_ramp):
    path = write_ramp("a.wav", 8000)
    for seed in range(20):
        for crop in _cut(path, 5.0, [4000, 4000, 16000], seed):
            assert crop.max() < 8000
            assert len(crop.unique()) >= 4000


def test_a_group_refuses_what_cannot_be_cut():
    with pytest.raises(ValueError, match="'views'.*0.0"):
        CropGroup("views", 0.0, 2)
    with pytest.raises(ValueError, match="num_views"):
        CropGroup("views", 1.0, -1)


def test_an_utterance_of_length_zero_is_not_a_crash(write_ramp):
    (crop,) = _cut(write_ramp("a.wav", 5), 0.0, [3])
    assert crop.shape == (3,)
