"""Claims about counting files that cannot be read."""

import copy
import logging
import pickle

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from ssps_plugin.dataio.read_failures import (
    ReadFailures,
    TooManyUnreadableError,
)

FILES = [f"{n}.wav" for n in range(1000)]


def test_a_file_is_counted_once_in_each_epoch_and_named_once(caplog):
    failures = ReadFailures(FILES)
    assert not failures.any_lost
    with caplog.at_level(logging.WARNING):
        for epoch in (1, 1, 2):
            failures.record(7, epoch, "7.wav: gone")
            assert failures.count(epoch) == 1
        failures.record(3, 2, "3.wav: gone")
    assert failures.count(2) == 2 and failures.count(3) == 0
    assert failures.files(2) == ["3.wav", "7.wav"]
    assert failures.any_lost and failures.was_lost(7)
    assert not failures.was_lost(8)
    assert caplog.text.count("7.wav") == caplog.text.count("3.wav") == 1


@pytest.mark.parametrize(
    ("num_files", "fraction", "limit"),
    [(1000, 0.01, 10), (40, 0.01, 5), (40, 0.5, 20), (40, 0.0, 0), (9, 1, 9)],
)
def test_more_than_the_limit_is_an_error_that_says_what_to_change(
    num_files, fraction, limit
):
    failures = ReadFailures(FILES[:num_files], fraction)
    for epoch in (1, 2):  # each epoch counts by itself
        for index in range(limit):
            failures.record(index, epoch, "gone")
    if limit == num_files:
        return
    with pytest.raises(TooManyUnreadableError) as error:
        failures.record(limit, 2, "gone")
    message = str(error.value)
    assert f"at most {limit} of {num_files}" in message
    assert f"got {limit + 1} in epoch 2: 0.wav" in message
    assert "change max_unreadable" in message


def test_a_fraction_out_of_range_is_refused():
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="change max_unreadable"):
            ReadFailures(FILES, fraction)


def test_what_another_process_loses_is_known_here():
    failures = ReadFailures(FILES)
    context = torch.multiprocessing.get_context("fork")
    workers = [
        context.Process(target=failures.record, args=(n, 4, "gone"))
        for n in range(5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures.files(4) == FILES[:5]
    assert failures.any_lost


def test_copies_count_together():
    failures = ReadFailures(FILES)
    copied = copy.deepcopy({"it": failures})["it"]
    copied.record(1, 1, "gone")
    assert failures.count(1) == 1
    assert pickle.loads(pickle.dumps(failures)).files(1) == ["1.wav"]


def test_a_resume_goes_on_counting_the_epoch(tmp_path):
    before = ReadFailures(FILES)
    before.record(5, 3, "gone")
    Checkpointer(tmp_path, {"failures": before}).save_checkpoint()
    after = ReadFailures(FILES[4:])  # some other files are left out
    Checkpointer(tmp_path, {"failures": after}).recover_if_possible()
    after.record(9, 3, "gone")
    assert after.files(3) == ["5.wav", "13.wav"]
    assert after.any_lost
