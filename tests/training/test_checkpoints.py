"""Checkpoints that are whole, or passed over."""

import os
import pathlib
import pickle
import threading
import time

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer
from torch import nn

from ssps_plugin.training import checkpoints
from ssps_plugin.training.checkpoints import AtomicCheckpointer


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


def test_an_optimiser_of_other_groups_says_what_to_change(tmp_path):
    one, two = value_of(1.0), value_of(2.0)
    together = [{"params": [one.weight, two.weight]}]
    apart = [{"params": [one.weight]}, {"params": [two.weight]}]
    saved, loaded = torch.optim.SGD(together), torch.optim.SGD(apart)
    AtomicCheckpointer(tmp_path, {"optimizer": saved}).save_checkpoint()
    other = AtomicCheckpointer(tmp_path, {"optimizer": loaded})
    with pytest.raises(RuntimeError, match=r"groups.*change output_folder"):
        other.recover_if_possible()


def save_numbers(folder, numbers, **kwargs):
    """Checkpoints of a module of one number each; returns their folders."""
    module = value_of(0.0)
    saver, folders = checkpointer(folder, module), []
    for number in numbers:
        with torch.no_grad():
            module.weight.fill_(number)
        saver.save_and_keep_only(num_to_keep=9, **kwargs)
        folders.append(saver.find_checkpoint().path)
    saver.wait()
    return folders


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": lambda path: path.unlink(),
    "a flipped bit": flip_a_bit,
    "text": lambda path: path.write_text("hello"),
}


@pytest.mark.parametrize("name", ["module.ckpt", "CKPT.yaml", "checksums.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_and_the_older_one_is_taken(
    tmp_path, caplog, name, damage
):
    older, newest = save_numbers(tmp_path, [3.0, 4.0])
    DAMAGES[damage](newest / name)
    found, value = recovered(tmp_path)
    assert (found.path, value) == (older, 3.0)
    if (damage, name) != ("missing", "CKPT.yaml"):  # then it is unfinished
        assert newest.name in caplog.text
        assert name in caplog.text
        # What was saved is not lost.
        assert (tmp_path / f"DAMAGED+{newest.name}").is_dir()
    save_numbers(tmp_path, [5.0])
    assert recovered(tmp_path)[1] == 5.0


def test_damaged_checkpoints_alone_are_refused_not_started_anew(tmp_path):
    for folder in save_numbers(tmp_path, [3.0, 4.0]):
        flip_a_bit(folder / "module.ckpt")
    with pytest.raises(RuntimeError, match="got damaged ones only.*CKPT"):
        recovered(tmp_path)
    with pytest.raises(RuntimeError, match="change output_folder"):
        recovered(tmp_path)


def test_the_newest_is_the_last_saved_whatever_the_clock_says(
    tmp_path, monkeypatch
):
    save_numbers(tmp_path, [3.0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86400.0)
    module = value_of(4.0)
    saver = checkpointer(tmp_path, module)
    saver.save_and_keep_only(num_to_keep=1)
    assert len(list(tmp_path.iterdir())) == 1
    assert recovered(tmp_path)[1] == 4.0


def test_checkpoints_of_speechbrains_own_checkpointer_are_taken(tmp_path):
    plain = Checkpointer(tmp_path, {"module": value_of(3.0)})
    plain.save_checkpoint()
    assert recovered(tmp_path)[1] == 3.0
    save_numbers(tmp_path, [4.0])
    assert recovered(tmp_path)[1] == 4.0


def test_a_large_state_is_written_as_it_was_when_it_was_saved(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoints, "_BACKGROUND_BYTES", 0)
    may_write, save = threading.Event(), torch.save
    monkeypatch.setattr(
        torch, "save", lambda *args: may_write.wait(60) and save(*args)
    )
    module = value_of(3.0)
    saver = checkpointer(tmp_path, module)
    saver.save_and_keep_only()
    with torch.no_grad():
        module.weight.fill_(9.0)
    assert saver.find_checkpoint() is None  # not whole yet
    may_write.set()
    assert recovered(tmp_path)[1] == 3.0  # which waits for the writer


def test_what_the_writing_thread_could_not_do_is_raised(tmp_path, monkeypatch):
    save_numbers(tmp_path, [3.0])
    monkeypatch.setattr(checkpoints, "_BACKGROUND_BYTES", 0)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    saver = checkpointer(tmp_path, value_of(4.0))
    saver.save_and_keep_only()
    with pytest.raises(RuntimeError, match="No space left.*make room"):
        saver.wait()
    monkeypatch.undo()
    assert recovered(tmp_path)[1] == 3.0


def test_files_and_folder_are_flushed_before_the_checkpoint_is_named(
    tmp_path, monkeypatch
):
    events = []
    flush, rename = checkpoints.flush, os.replace
    monkeypatch.setattr(
        checkpoints,
        "flush",
        lambda path: (events.append(("flush", path.name)), flush(path)),
    )
    monkeypatch.setattr(
        os,
        "replace",
        lambda a, b: (events.append(("name", b.name)), rename(a, b)),
    )
    save_numbers(tmp_path, [3.0])
    named = events.index(("name", "CKPT.yaml"))
    flushed = {name for _, name in events[:named]}
    assert {"module.ckpt", "checksums.json"} <= flushed
    assert ("flush", tmp_path.name) in events[named:]


def test_a_checkpoint_is_data_whatever_the_environment_says(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (folder,) = save_numbers(tmp_path, [3.0])
    torch.save({"weight": Dangerous(tmp_path / "ran")}, folder / "module.ckpt")
    (folder / "checksums.json").unlink()
    meta = (folder / "CKPT.yaml").read_text().replace("number:", "other:")
    (folder / "CKPT.yaml").write_text(meta)
    with pytest.raises(pickle.UnpicklingError):
        recovered(tmp_path)
    assert not (tmp_path / "ran").exists()


class Dangerous:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_saving_does_not_slow_down_with_every_save(tmp_path):
    module = value_of(1.0)
    saver = checkpointer(tmp_path, module)
    calls = []
    for _ in range(40):
        saver.save_and_keep_only(num_to_keep=2)
        calls.append(len(list(tmp_path.iterdir())))
    assert max(calls) == 2
    defaults = Checkpointer.save_and_keep_only.__defaults__
    assert [] in defaults  # SpeechBrain's list, which grew with every save


def test_the_newest_whole_one_is_loaded_without_changing_a_file(tmp_path):
    older, newest = save_numbers(tmp_path, [3.0, 4.0])
    killed_while_saving(tmp_path, 5.0)
    flip_a_bit(newest / "module.ckpt")
    before = {
        path: path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    module = value_of(0.0)
    assert checkpointer(tmp_path, module).load_newest().path == older
    assert module.weight.item() == 3.0
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after == set(before)
    assert all(path.read_bytes() == before[path] for path in after)
    flip_a_bit(older / "module.ckpt")
    with pytest.raises(RuntimeError, match="got 2 damaged ones only"):
        checkpointer(tmp_path, module).load_newest()
