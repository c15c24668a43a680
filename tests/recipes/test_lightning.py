"""Claims about the recipe in Lightning, on one process and on two."""

import subprocess
import sys

import pytest
import torch

from tests.recipes.running import ROOT, own_process_environment
from tests.recipes.test_pytorch import SMALL, load_script

pytest.importorskip("lightning")

SCRIPT = ROOT / "recipes" / "lightning" / "train.py"


def arguments(corpus, output, **options):
    given = {"data_folder": corpus, "output_folder": output, **SMALL}
    given |= {"accelerator": "cpu", "devices": 1, **options}
    return [f"--{key}={value}" for key, value in given.items()]


def run(corpus, output, **options):
    """In a process of its own: Lightning leaves a process group behind."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments(corpus, output, **options)],
        check=False,
        capture_output=True,
        text=True,
        cwd=output.parent,
        env=own_process_environment(),
    )
    assert done.returncode == 0, done.stderr
    return torch.load(output / "last.ckpt", weights_only=False)


def sampler_of(saved):
    prefix = "loss.sampler."
    return {
        name.removeprefix(prefix): value
        for name, value in saved["state_dict"].items()
        if name.startswith(prefix)
    }


def test_the_sampler_is_in_the_module_and_has_no_parameters(corpus):
    module = load_script(SCRIPT)
    args = module.argparse.Namespace(
        **{**SMALL, "lr": 0.1, "start_epoch": 2, "dim": 8}
    )
    model = module.Contrastive(args, num_utterances=48)
    assert not list(model.loss.sampler.parameters())
    assert len(model.configure_optimizers().param_groups[0]["params"]) == len(
        list(model.encoder.parameters())
    )


@pytest.mark.slow
def test_it_trains_and_goes_on_from_its_last_checkpoint(corpus, tmp_path):
    first = run(corpus, tmp_path / "out", num_epochs=2)
    assert first["epoch"] == 1 and int(sampler_of(first)["_epoch"]) == 2
    assert sampler_of(first)["bank._seen"].any()
    then = run(corpus, tmp_path / "out")
    assert then["epoch"] == 3 and int(sampler_of(then)["_epoch"]) == 4
    anchors, covered, _ = sampler_of(then)["_counts"].tolist()
    assert anchors == 48 and covered > 24


@pytest.mark.slow
def test_two_processes_share_the_memories(corpus, tmp_path):
    saved = run(corpus, tmp_path / "out", devices=2)
    sampler = sampler_of(saved)
    # 3 steps of 16, counted over both; so 3 epochs see every utterance.
    anchors, covered, _ = sampler["_counts"].tolist()
    assert anchors == 48 and covered > 24
    assert int(sampler["bank._seen"].sum()) == 48
