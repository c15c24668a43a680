"""Signals and kills: what a run saves, how it ends, and how it goes on."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    assert_same_run,
    history,
    own_process_environment,
)

pytestmark = pytest.mark.slow
OPTIONS = {
    **SMALL,
    "overlay": "hparams/minivox.yaml",
    "num_epochs": 6,
    "num_made_trials": 4,
    "verify_interval": 9,
}


def start(corpus, output, *flags, **options):
    """Start a run in a process (group) of its own."""
    given = {
        **OPTIONS,
        "data_folder": corpus,
        "output_folder": output,
        **options,
    }
    argv = [str(ROOT / "hparams" / "simclr_ssps.yaml"), "--noprogressbar"]
    argv += [f"--{key}={value}" for key, value in given.items()]
    return subprocess.Popen(
        [sys.executable, str(RECIPES / "train_ssl.py"), *argv, *flags],
        cwd=ROOT,
        env=own_process_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(corpus, output, *flags, **options):
    process = start(corpus, output, *flags, **options)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return errors


def wait_for_epoch(output, epoch, process):
    """Wait until an epoch has ended."""
    for _ in range(6000):
        if (output / "history.json").exists() and history(output)[-1][
            "epoch"
        ] >= epoch:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("the run did not get that far")


def wait_for_another_checkpoint(output, process):
    """Wait until a checkpoint is written that was not there before."""
    before = set((output / "save").glob("CKPT*"))
    for _ in range(12000):
        if set((output / "save").glob("CKPT*")) - before:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the run did not get that far")


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    finish(corpus, output)
    return output


@pytest.mark.parametrize(
    ("number", "num_workers"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGINT, 2)],
)
def test_a_signal_saves_the_step_and_the_same_command_goes_on(
    number, num_workers, whole, corpus, tmp_path
):
    output = tmp_path / "run"
    process = start(corpus, output, num_workers=num_workers)
    wait_for_epoch(output, 2, process)
    # As a terminal and a scheduler do: to all processes of the group.
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    log = (output / "log.txt").read_text()
    assert "the same command goes on from there" in log
    assert list((output / "save").glob("CKPT*"))
    finish(corpus, output, num_workers=num_workers)
    assert_same_run(whole, output)


def test_a_second_signal_stops_at_once(corpus, tmp_path):
    output = tmp_path / "run"
    process = start(corpus, output, num_epochs=200)
    wait_for_epoch(output, 1, process)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGTERM)
    for _ in range(100):
        time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


def test_killed_at_random_moments_a_run_ends_as_if_undisturbed(
    whole, corpus, tmp_path
):
    output, chance = tmp_path / "run", random.Random(0)
    # Checkpoints in every step: many of the kills fall into one.
    flags = ("--ckpt_interval_steps=1",)
    for _ in range(4):
        process = start(corpus, output, *flags)
        # However fast the machine is: once the run has got further, and on.
        wait_for_another_checkpoint(output, process)
        time.sleep(chance.uniform(0.0, 0.1))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it had ended before"
    finish(corpus, output, *flags)
    assert_same_run(whole, output)
