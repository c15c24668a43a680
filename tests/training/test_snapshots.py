"""Snapshots of the last epochs, and their average."""

import pytest
import torch
from torch import nn

from ssps_plugin.training.snapshots import Snapshots


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def model(value=0.0):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
        network[1].running_mean.fill_(value)
        network[1].num_batches_tracked.fill_(int(10 * value))
    return network


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_epochs_are_averaged_and_the_others_dropped(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=3)
    for epoch in range(1, 6):
        snapshots.save(epoch, model(float(epoch)))
    assert len(names_in(tmp_path)) == 3
    averaged = model()
    assert snapshots.average_into(averaged, last_epoch=5) == 3
    for name, value in averaged.state_dict().items():
        if name == "1.running_var":
            assert (value == 1.0).all()
        elif value.is_floating_point():
            assert (value == 4.0).all(), name  # of 3, 4 and 5
        else:
            assert value == 50, name  # counters are the last epoch's


def test_fewer_epochs_than_asked_for_are_averaged_too(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=10)
    for epoch in (1, 2):
        snapshots.save(epoch, model(float(epoch)))
    averaged = model()
    assert snapshots.average_into(averaged, last_epoch=2) == 2
    assert (averaged[0].weight == 1.5).all()


@pytest.mark.parametrize("num_kept", [0, 1])
def test_without_averaging_nothing_is_kept_and_the_model_stays(
    tmp_path, num_kept
):
    snapshots = Snapshots(tmp_path / "snapshots", num_kept)
    snapshots.save(1, model(1.0))
    assert not (tmp_path / "snapshots").exists()
    kept = model(7.0)
    assert snapshots.average_into(kept, last_epoch=1) == 1
    assert (kept[0].weight == 7.0).all()


def test_a_resume_replaces_what_a_longer_run_left(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=2)
    for epoch in (7, 8, 9):
        snapshots.save(epoch, model(float(epoch)))
    for epoch in (1, 2):  # the folder again, from the start
        snapshots.save(epoch, model(float(epoch)))
    assert len(names_in(tmp_path)) == 2
    averaged = model()
    assert snapshots.average_into(averaged, last_epoch=2) == 2
    assert (averaged[0].weight == 1.5).all()


def test_half_a_snapshot_of_a_killed_process_is_not_read(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=2)
    snapshots.save(1, model(1.0))
    snapshots.save(2, model(2.0))
    (tmp_path / "epoch_000003.unfinished").write_bytes(b"half")
    averaged = model()
    assert snapshots.average_into(averaged, last_epoch=3) == 1
    assert snapshots.average_into(averaged, last_epoch=2) == 2


def test_half_precision_is_averaged_in_full(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=4)
    for epoch in range(1, 5):
        snapshots.save(epoch, model(1000.0 + epoch).half())
    averaged = model().half()
    snapshots.average_into(averaged, last_epoch=4)
    assert averaged[0].weight.dtype == torch.float16
    assert (averaged[0].weight == torch.tensor(1002.5).half()).all()


def test_a_negative_number_of_epochs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="got -1: change averaged_epochs"):
        Snapshots(tmp_path, -1)


def test_a_damaged_snapshot_is_named_and_left_out_of_the_average(
    tmp_path, caplog
):
    snapshots = Snapshots(tmp_path, num_kept=3)
    for epoch in (1, 2, 3):
        snapshots.save(epoch, model(float(epoch)))
    (damaged,) = tmp_path.glob("epoch_000002*")
    flip_a_bit(damaged)
    averaged = model()
    assert snapshots.average_into(averaged, last_epoch=3) == 2
    assert (averaged[0].weight == 2.0).all()  # of 1 and 3
    assert damaged.name in caplog.text


def test_a_snapshot_made_again_replaces_the_one_before(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=2)
    for epoch, value in ((1, 1.0), (2, 5.0), (2, 3.0)):
        snapshots.save(epoch, model(value))
    assert len(names_in(tmp_path)) == 2
    averaged = model()
    snapshots.average_into(averaged, last_epoch=2)
    assert (averaged[0].weight == 2.0).all()
