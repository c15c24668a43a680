"""Claims about the recipe on two ranks, over gloo on the CPU."""

import os
import subprocess
import sys

import pytest
import torch

from tests.evaluation.list_server import serving
from tests.recipes.corpora import write_corpus
from tests.recipes.test_frameworks import FRAMEWORKS as SMALL_FRAMEWORKS
from tests.recipes.test_train_ssl import (
    RECIPES,
    ROOT,
    SMALL,
    assert_same_run,
    history,
    newest_checkpoint,
)

FRAMEWORKS = {"simclr": {}, **SMALL_FRAMEWORKS}


def run_on_two_ranks(name, output, **options):
    options = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "output_folder": output,
        "device": "cpu",
        "distributed_backend": "gloo",
        **options,
    }
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    argv = [
        *(sys.executable, *launcher, "--nproc_per_node=2"),
        str(RECIPES / "train_ssl.py"),
        str(ROOT / "hparams" / f"{name}_ssps.yaml"),
    ]
    for key, value in options.items():
        if value is not None:  # None: a key that this YAML does not have
            argv += [f"--{key}", str(value)]
    subprocess.run(
        [*argv, "--noprogressbar"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_two_ranks_train_to_the_end_and_resume_to_the_same_run(name, tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    options = {"data_folder": corpus, **FRAMEWORKS[name]}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_on_two_ranks(name, whole, use_tensorboard=True, **options)
    assert history(whole)[-1]["coverage"] > 0
    assert (whole / "results.json").is_file()
    assert list((whole / "tensorboard").iterdir())
    run_on_two_ranks(name, stopped, num_epochs=2, **options)
    run_on_two_ranks(name, stopped, **options)
    assert_same_run(whole, stopped)


@pytest.mark.slow
def test_keys_are_shuffled_in_every_step_over_ranks(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    options = {"data_folder": corpus, **FRAMEWORKS["moco"], "num_epochs": 1}
    run_on_two_ranks("moco", tmp_path / "out", **options)
    state = torch.load(newest_checkpoint(tmp_path / "out") / "framework.ckpt")
    assert state["num_shuffles"] == 4  # 36 utterances in batches of 8


@pytest.mark.slow
def test_trials_by_address_are_fetched_by_one_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    corpus = write_corpus(tmp_path / "corpus")
    with serving() as server:
        server.lists["list.txt"] = (
            "1 id000/rec0/00000.wav id000/rec1/00000.wav\n"
            "0 id000/rec0/00000.wav id001/rec0/00000.wav\n"
        )
        run_on_two_ranks(
            "simclr",
            tmp_path / "out",
            data_folder=corpus,
            trials=f"{server.address}list.txt",
            num_epochs=1,
        )
        assert server.asked == ["list.txt"]
    assert "eer" in history(tmp_path / "out")[0]
