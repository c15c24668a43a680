"""The recipe run in this process on tiny settings, and what it leaves."""

import importlib
import json
import os
import pathlib
import shutil
import sys

import torch

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "voxceleb"
SMALL = {
    "crop_seconds": 0.3,
    "reference_seconds": 0.4,
    "embedding_dim": 8,
    "encoder_channels": "[8, 8, 8, 8, 24]",
    "attention_channels": 8,
    "global_batch_size": 8,
    "num_epochs": 3,
    "ssps_start_epoch": 3,
    "num_clusters": 6,
    "queue_size": 24,
    "num_held_out_speakers": 2,
    "num_made_trials": 40,
    "verify_interval": 1,
}


def own_process_environment():
    """This one's, for a process on one thread, with no GPU, on this code."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }


def recipe(name):
    """Import a recipe as Python would run it: its folder on the path."""
    if str(RECIPES) not in sys.path:
        sys.path.insert(0, str(RECIPES))
    return importlib.import_module(name)


def run(hparams, output, *flags, **options):
    """Run the recipe in this process; returns its log."""
    given = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "output_folder": output,
        **options,
    }
    if "ssps" not in hparams:
        for key in ("ssps_start_epoch", "num_clusters", "queue_size"):
            given.pop(key)
    argv = [str(ROOT / "hparams" / hparams)]
    for key, value in given.items():
        if value is not None:  # None: a key that this YAML does not have
            argv += [f"--{key}", str(value)]
    recipe("train_ssl").main([*argv, "--noprogressbar", *flags])
    return (output / "log.txt").read_text()


def history(output):
    return json.loads((output / "history.json").read_text())


def newest_checkpoint(output):
    checkpoints = (output / "save").glob("CKPT*")
    return max(checkpoints, key=lambda path: path.stat().st_mtime_ns)


def copy_inside_last_epoch(whole, again):
    """Copy a finished run as it was when its last epoch was not yet over.

    Left is what a process leaves that is killed in the last epoch's last step.
    """
    shutil.copytree(whole, again)
    shutil.rmtree(newest_checkpoint(again))
    (again / "results.json").unlink()
    left = (newest_checkpoint(again) / "CKPT.yaml").read_text()
    assert "end-of-epoch: false" in left


def final_model(output):
    path = newest_checkpoint(output) / "framework.ckpt"
    return torch.load(path, weights_only=True)


def assert_same_run(one, other):
    # A resume reports the same metrics, whatever it cost to get there.
    assert history(one) == history(other)
    left, right = final_model(one), final_model(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name
