"""AtomicCheckpointer: a half-written checkpoint is never taken for whole."""

import pytest
import torch
from torch import nn

from ssps_plugin.checkpoints import AtomicCheckpointer


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


def test_the_best_by_a_figure_is_found(tmp_path):
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
