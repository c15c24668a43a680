"""Ranks that stop answering, and runs that go on with another number."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from tests.faults.test_signals import wait_for_epoch
from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    history,
    own_process_environment,
)

pytestmark = pytest.mark.slow
OPTIONS = {
    **SMALL,
    "overlay": "hparams/minivox.yaml",
    "num_made_trials": 4,
    "verify_interval": 99,
    "rank_timeout_minutes": 0.2,
}


def start(corpus, output, num_ranks, **options):
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    given = {
        **OPTIONS,
        "data_folder": corpus,
        "output_folder": output,
        **options,
    }
    argv = [f"--{key}={value}" for key, value in given.items()]
    return subprocess.Popen(
        [
            *(sys.executable, *launcher, f"--nproc_per_node={num_ranks}"),
            str(RECIPES / "train_ssl.py"),
            str(ROOT / "hparams" / "simclr_ssps.yaml"),
            *("--device", "cpu", "--distributed_backend", "gloo"),
            *("--noprogressbar", *argv),
        ],
        cwd=ROOT,
        env=own_process_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ranks_of(launcher):
    """Process ids of the ranks that a torchrun has started."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == launcher.pid:
                found.append(int(name))
    return sorted(found)


def test_a_silent_rank_ends_the_run_which_goes_on_later(corpus, tmp_path):
    output = tmp_path / "run"
    process = start(corpus, output, 2, num_epochs=400)
    wait_for_epoch(output, 2, process)
    silent = ranks_of(process)[-1]
    os.kill(silent, signal.SIGSTOP)
    try:
        _, errors = process.communicate(timeout=180)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0, errors
    log = (output / "log.txt").read_text()
    assert "within 0.2 minutes (rank_timeout_minutes)" in log
    assert "goes on from the last checkpoint" in log
    last = history(output)[-1]["epoch"]
    # With one process: what differs is said.
    again = start(corpus, output, 1, num_epochs=last + 1)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert history(output)[-1]["epoch"] == last + 1
    assert "trained by 2 processes and goes on with 1" in (
        (output / "log.txt").read_text()
    )
