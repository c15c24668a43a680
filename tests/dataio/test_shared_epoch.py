import copy

import pytest
import torch
from torch.utils.data import DataLoader

from ssps_plugin.dataio.shared_epoch import SharedEpoch


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
