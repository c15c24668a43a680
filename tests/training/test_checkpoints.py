"""Checkpoints that are never half written, and the average of snapshots."""

import pytest
import torch
from torch import nn

from ssps_plugin.training.checkpoints import AtomicCheckpointer, Snapshots


class Killed(BaseException):
    """As a signal would end the process."""


def value_of(number):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, number)
    return module


def checkpointer(folder, module):
    return AtomicCheckpointer(folder, {"module": module})


def killed_while_saving(folder, number, **kwargs):
    saver = checkpointer(folder, value_of(number))

    def kill(obj, path):
        path.write_bytes(b"half of a file")
        raise Killed

    saver.custom_save_hooks["module"] = kill
    with pytest.raises(Killed):
        saver.save_checkpoint(**kwargs)


def recovered(folder):
    module = value_of(0.0)
    found = checkpointer(folder, module).recover_if_possible()
    return found, module.weight.item()


def test_what_was_saved_is_recovered_with_its_meta(tmp_path):
    saver = checkpointer(tmp_path, value_of(3.0))
    saved = saver.save_checkpoint(meta={"epoch": 7}, end_of_epoch=False)
    found, value = recovered(tmp_path)
    assert value == 3.0
    assert found.path == saved.path
    assert found.meta["epoch"] == 7
    assert found.meta["end-of-epoch"] is False


def test_no_checkpoint_recovers_nothing(tmp_path):
    assert recovered(tmp_path) == (None, 0.0)


def test_a_half_written_checkpoint_is_not_picked_and_is_removed(tmp_path):
    saved = checkpointer(tmp_path, value_of(3.0)).save_checkpoint()
    killed_while_saving(tmp_path, 4.0)
    assert len(list(tmp_path.iterdir())) == 2
    found, value = recovered(tmp_path)
    assert found.path == saved.path
    assert value == 3.0
    assert [folder.name for folder in tmp_path.iterdir()] == [saved.path.name]


def test_a_half_written_first_checkpoint_is_no_checkpoint(tmp_path):
    killed_while_saving(tmp_path, 4.0)
    assert recovered(tmp_path) == (None, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_named_checkpoint_half_written_over_is_not_picked(tmp_path):
    whole = checkpointer(tmp_path, value_of(3.0))
    whole.save_checkpoint(name="latest")
    killed_while_saving(tmp_path, 4.0, name="latest")
    assert recovered(tmp_path) == (None, 0.0)


def test_only_the_newest_are_kept(tmp_path):
    module = value_of(1.0)
    saver = checkpointer(tmp_path, module)
    for number in (1.0, 2.0, 3.0):
        nn.init.constant_(module.weight, number)
        saver.save_and_keep_only(num_to_keep=1)
    assert len(list(tmp_path.iterdir())) == 1
    assert recovered(tmp_path)[1] == 3.0


def test_the_best_by_a_metric_is_found(tmp_path):
    module = value_of(1.0)
    saver = checkpointer(tmp_path, module)
    for number, eer in ((1.0, 5.0), (2.0, 3.0), (3.0, 4.0)):
        with torch.no_grad():
            module.weight.fill_(number)
        saver.save_checkpoint(meta={"eer": eer})
    saver.recover_if_possible(min_key="eer")
    assert module.weight.item() == 2.0


def test_a_checkpoint_of_another_size_says_what_to_change(tmp_path):
    checkpointer(tmp_path, value_of(1.0)).save_checkpoint()
    other = checkpointer(tmp_path, nn.Linear(2, 1, bias=False))
    message = "size mismatch for weight.*change output_folder"
    with pytest.raises(RuntimeError, match=message):
        other.recover_if_possible()


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
