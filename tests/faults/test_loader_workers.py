"""Claims about DataLoader workers that are killed in the middle of an epoch."""

import os
import signal
import time

import pytest
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader, make_dataloader
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.checkpoints import Checkpointer

from ssps_plugin.dataio.loading import (
    restart_killed_workers,
    train_loader_kwargs,
)

pytestmark = pytest.mark.slow
NUM_WORKERS = 2


def make_loader(persistent=True, fails=None):
    def load(number):
        if number == fails:
            raise RuntimeError("a fault of the data")
        time.sleep(0.002)
        return torch.full((3,), float(number))

    data = {f"u{n}": {"number": n} for n in range(200)}
    dataset = DynamicItemDataset(data)
    dataset.add_dynamic_item(load, ["number"], ["views"])
    dataset.set_output_keys(["id", "views"])
    options = train_loader_kwargs(200, 20, NUM_WORKERS)
    options["persistent_workers"] = persistent
    options["pin_memory"] = False
    return restart_killed_workers(make_dataloader(dataset, **options))


def run(loader, kill_after=(), num_epochs=2):
    """Return ids, views and a draw of PyTorch's generator of each step."""
    torch.manual_seed(0)
    steps = []
    for epoch in range(1, num_epochs + 1):
        loader.sampler.set_epoch(epoch)
        for number, batch in enumerate(loader):
            if (epoch, number) in kill_after:
                workers = loader._speechbrain_iterator._workers
                os.kill(workers[number % NUM_WORKERS].pid, signal.SIGKILL)
                # PyTorch's handler would raise here, in the middle of a step.
                time.sleep(0.2)
            draw = torch.rand(()).item()
            steps.append((batch.id, batch.views.data.tolist(), draw))
    return steps


@pytest.mark.parametrize("persistent", [False, True])
def test_a_killed_worker_changes_nothing(persistent, caplog):
    undisturbed = run(make_loader(persistent))
    assert len(undisturbed) == 20
    # The first batch, one in the middle, and the last of an epoch.
    killed = run(make_loader(persistent), {(1, 0), (1, 5), (1, 9), (2, 3)})
    assert killed == undisturbed
    assert "exit code -9" in caplog.text and "num_workers" in caplog.text


def test_a_checkpoint_after_a_killed_worker_resumes_where_it_was(tmp_path):
    undisturbed = run(make_loader(), num_epochs=1)
    loader = make_loader()
    checkpointer = Checkpointer(tmp_path, {"loader": loader})
    loader.sampler.set_epoch(1)
    for number, _ in enumerate(loader):
        if number == 2:
            for worker in loader._speechbrain_iterator._workers:
                os.kill(worker.pid, signal.SIGKILL)
        if number == 6:
            checkpointer.save_checkpoint(end_of_epoch=False)
            break
    resumed = make_loader()
    Checkpointer(tmp_path, {"loader": resumed}).recover_if_possible()
    rest = run(resumed, num_epochs=1)
    assert [ids for ids, _, _ in rest] == [ids for ids, _, _ in undisturbed[7:]]


def test_workers_that_always_die_are_an_error_that_says_what_to_change():
    loader = make_loader()

    def die(worker):
        os.kill(os.getpid(), signal.SIGKILL)

    loader.worker_init_fn = die
    with pytest.raises(RuntimeError, match="4 times in a row.*num_workers"):
        next(iter(loader))


def test_an_error_of_the_data_is_raised_as_it_is():
    with pytest.raises(RuntimeError, match="a fault of the data"):
        run(make_loader(fails=17))


def test_workers_ignore_ctrl_c():
    loader = make_loader()
    undisturbed = run(make_loader(), num_epochs=1)
    torch.manual_seed(0)
    loader.sampler.set_epoch(1)
    ids = []
    for batch in loader:
        for worker in loader._speechbrain_iterator._workers:
            os.kill(worker.pid, signal.SIGINT)
        ids.append(batch.id)
    assert ids == [names for names, _, _ in undisturbed]
    workers = loader._speechbrain_iterator._workers
    assert all(worker.is_alive() for worker in workers)


def test_it_stays_speechbrains_loader():
    loader = make_loader()
    assert isinstance(loader, SaveableDataLoader) and len(loader) == 10
    assert restart_killed_workers([1, 2]) == [1, 2]
