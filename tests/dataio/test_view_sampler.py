import pickle

import numpy as np
import pytest
import torch

from ssps_plugin.dataio.crops import CropGroup
from ssps_plugin.dataio.shared_epoch import SharedEpoch
from ssps_plugin.dataio.view_sampler import ViewSampler


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
