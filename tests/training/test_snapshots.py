"""Snapshots by epoch, and the average of the last ones."""

import pytest
import torch
from torch import nn

from ssps_plugin.training.checkpoints import DamagedFileError
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


def test_marked_epochs_stay_beyond_the_last_ones_and_load_by_epoch(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=2)
    for epoch in range(1, 8):
        snapshots.save(epoch, model(float(epoch)), marked={2, 4, 9})
    assert snapshots.epochs() == [2, 4, 6, 7]
    for epoch in snapshots.epochs():
        loaded = model()
        snapshots.load_into(loaded, epoch)
        assert (loaded[0].weight == epoch).all()
        assert loaded[1].num_batches_tracked == 10 * epoch


def test_marked_epochs_leave_the_average_as_it_is(tmp_path):
    plain = Snapshots(tmp_path / "plain", num_kept=2)
    marking = Snapshots(tmp_path / "marking", num_kept=2)
    for epoch in range(1, 6):
        plain.save(epoch, model(float(epoch)))
        marking.save(epoch, model(float(epoch)), marked={2, 5})
    # Even of more epochs than the run has kept, as verify.py may ask for.
    for num_kept in (2, 10):
        averages = [model(), model()]
        for one, folder in zip(averages, ("plain", "marking"), strict=True):
            again = Snapshots(tmp_path / folder, num_kept)
            assert again.average_into(one, last_epoch=5) == 2
        states = [one.state_dict() for one in averages]
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_an_epoch_that_is_no_longer_marked_goes(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=0)
    for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 4), (5, 4)):
        snapshots.save(epoch, model(float(epoch)), marked={best})
    assert snapshots.epochs() == [4]
    assert snapshots.average_into(model(), last_epoch=5) == 1


def test_a_resume_replaces_the_snapshot_of_a_marked_epoch(tmp_path):
    snapshots = Snapshots(tmp_path, num_kept=2)
    for epoch, value in ((1, 1.0), (2, 5.0), (3, 1.0), (4, 1.0), (2, 3.0)):
        snapshots.save(epoch, model(value), marked={2})
    loaded = model()
    snapshots.load_into(loaded, 2)
    assert (loaded[0].weight == 3.0).all()
    assert len(names_in(tmp_path)) == 2  # one to average, one marked


def test_an_epoch_that_is_not_kept_is_an_error_that_names_those_that_are(
    tmp_path,
):
    snapshots = Snapshots(tmp_path, num_kept=2)
    for epoch in (1, 2, 3):
        snapshots.save(epoch, model(float(epoch)))
    with pytest.raises(FileNotFoundError, match=r"epoch 1 .* epochs: 2, 3\."):
        snapshots.load_into(model(), 1)


def test_a_damaged_snapshot_is_not_loaded_but_a_whole_one_of_its_epoch_is(
    tmp_path,
):
    snapshots = Snapshots(tmp_path, num_kept=2)
    snapshots.save(1, model(1.0))
    snapshots.save(2, model(2.0), marked={2})
    for path in tmp_path.glob("epoch_*"):
        flip_a_bit(path)
    loaded = model()
    snapshots.load_into(loaded, 2)
    assert (loaded[0].weight == 2.0).all()
    with pytest.raises(DamagedFileError, match="another epoch"):
        snapshots.load_into(loaded, 1)
