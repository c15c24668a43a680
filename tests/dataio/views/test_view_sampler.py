"""Claims about crops, decided by seed, epoch and utterance alone."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssps_plugin.dataio.augmentation.augmentation import add_noise
from ssps_plugin.dataio.views import view_sampler
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
    cut_crops,
    utterance_generator,
)


def _add_random_offset(samples, rng):
    return samples + 1000 * rng.integers(1, 1000)


def test_groups_of_several_lengths_come_from_one_read(write_ramp, count_reads):
    path = write_ramp("a.wav", 96000)
    groups = [CropGroup("views", 4.0, 2), CropGroup("local_views", 2.0, 4)]
    views, local = ViewSampler(groups, 1, SharedEpoch())("a", path, "6.0")
    assert views.shape == (2, 64000)
    assert local.shape == (4, 32000)
    assert len(local[:, 0].unique()) == 4
    assert len(count_reads) == 1


def test_every_augmented_crop_has_a_draw_of_its_own_and_a_clean_one_none():
    class Zeros(ViewSampler):
        def cut(self, utterance_id, wav, seconds, epoch):
            return [torch.zeros(n) for n in self.lengths()]

    groups = [
        CropGroup("views", 1e-4, 2),
        CropGroup("reference", 1e-4, augmented=False),
    ]
    sampler = Zeros(groups, 1, SharedEpoch(), _add_random_offset)
    views, reference = sampler("a", "", 1.0)
    assert len(views[:, 0].unique()) == 2
    assert views.min() >= 1000
    assert reference.eq(0).all()


def test_a_group_added_at_the_end_leaves_the_others_as_they_were(write_ramp):
    path = write_ramp("a.wav", 96000)
    views, extra = CropGroup("views", 1.0, 2), CropGroup("reference", 4.0)
    alone = ViewSampler([views], 1, SharedEpoch(), _add_random_offset)
    both = ViewSampler([views, extra], 1, SharedEpoch(), _add_random_offset)
    assert torch.equal(alone("a", path, 6.0), both("a", path, 6.0)[0])


def test_the_others_crops_move_no_bit_of_what_is_augmented(write_ramp):
    path = write_ramp("a.wav", 20000)
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))

    def add(samples, rng):
        return add_noise(samples / 20000, noise, 0.0)

    views = CropGroup("views", 0.25, 2)
    reference = CropGroup("reference", 0.5, augmented=False)
    for epoch in map(SharedEpoch, range(1, 31)):
        alone = ViewSampler([views], 1, epoch, add)("a", path, 1.25)
        both = ViewSampler([views, reference], 1, epoch, add)("a", path, 1.25)
        assert torch.equal(alone, both[0])


def test_it_can_be_sent_to_a_spawned_worker(write_ramp):
    sampler = ViewSampler([CropGroup("views", 1.0, 2)], 1, SharedEpoch())
    copied = pickle.loads(pickle.dumps(sampler))
    path = write_ramp("a.wav", 96000)
    assert torch.equal(sampler("a", path, 6.0), copied("a", path, 6.0))


def test_crops_change_with_seed_epoch_and_utterance(write_ramp):
    path = write_ramp("a.wav", 96000)
    group = [CropGroup("views", 1.0)]
    epoch = SharedEpoch()
    starts = [int(ViewSampler(group, 1, epoch)("a", path, 6.0)[0])]
    starts.append(int(ViewSampler(group, 2, epoch)("a", path, 6.0)[0]))
    starts.append(int(ViewSampler(group, 1, epoch)("b", path, 6.0)[0]))
    epoch.set(2)
    starts.append(int(ViewSampler(group, 1, epoch)("a", path, 6.0)[0]))
    assert len(np.unique(starts)) == 4


def test_a_group_of_no_crops_is_left_out(write_ramp):
    path = write_ramp("a.wav", 48000)
    views, none = CropGroup("views", 1.0, 2), CropGroup("local_views", 0.5, 0)
    sampler = ViewSampler([views, none], 1, SharedEpoch())
    alone = ViewSampler([views], 1, SharedEpoch())
    assert torch.equal(sampler("a", path, 3.0), alone("a", path, 3.0))
    with pytest.raises(ValueError, match="at least 1 crop"):
        ViewSampler([none], 1, SharedEpoch())


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


def _draw(*key):
    return utterance_generator(*key).integers(2**62)


def test_the_same_key_draws_the_same():
    assert _draw(1, 2, "a", "crops") == _draw(1, 2, "a", "crops")


def test_seed_epoch_utterance_and_purpose_each_change_the_draw():
    keys = [
        (1, 2, "a", "crops"),
        (3, 2, "a", "crops"),
        (1, 3, "a", "crops"),
        (1, 2, "b", "crops"),
        (1, 2, "a", "augmentation 0"),
        (12, 2, "a", "crops"),
        (1, 22, "a", "crops"),
    ]
    assert len({_draw(*key) for key in keys}) == len(keys)


def test_another_process_draws_the_same():
    # Run as a file: to import the package takes seconds.
    code = (
        f"import runpy; names = runpy.run_path({view_sampler.__file__!r});"
        "rng = names['utterance_generator'](1, 2, 'é', 'crops');"
        "print(rng.integers(2**62))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    assert int(output) == _draw(1, 2, "é", "crops")


def test_the_first_draws_of_neighbouring_epochs_are_independent():
    draws = [
        utterance_generator(1, epoch, "a", "crops").random()
        for epoch in range(2000)
    ]
    mean = sum(draws) / 2000
    lagged = sum(a * b for a, b in zip(draws, draws[1:], strict=False)) / 1999
    assert abs(mean - 0.5) < 0.03
    assert abs(lagged - 0.25) < 0.03


class _EpochReader:
    def __init__(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.epoch.value


@pytest.mark.parametrize(
    "context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_persistent_workers_follow_the_epoch(context):
    epoch = SharedEpoch()
    loader = DataLoader(
        _EpochReader(epoch),
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=context,
    )
    for number in (1, 2, 7):
        epoch.set(number)
        assert torch.cat(list(loader)).tolist() == [number] * 4


def test_a_deep_copy_follows_the_epoch():
    epoch = SharedEpoch()
    copied = copy.deepcopy({"epoch": epoch})["epoch"]
    epoch.set(5)
    assert copied.value == 5
