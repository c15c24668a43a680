"""Claims about the recipe in plain PyTorch, on one process and on two."""

import importlib.util
import re
import subprocess
import sys

import pytest
import torch

from tests.recipes.running import ROOT, own_process_environment

SCRIPT = ROOT / "recipes" / "pytorch" / "train.py"
SMALL = {
    "num_epochs": 4,
    "start_epoch": 3,
    "num_clusters": 12,
    "queue_size": 48,
    "batch_size": 8,
    "crop_seconds": 0.3,
    "reference_seconds": 0.5,
    "dim": 16,
    "num_workers": 0,
}
LINE = re.compile(r"epoch (\d+): loss ([\d.]+), coverage ([\d.]+)")


def load_script(path):
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(corpus, output, **options):
    given = {"data_folder": corpus, "output_folder": output, **SMALL, **options}
    return [f"--{key}={value}" for key, value in given.items()]


def run_on_two_ranks(corpus, output, **options):
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [
            *(sys.executable, *launcher, "--nproc_per_node=2", str(SCRIPT)),
            *arguments(corpus, output, **options),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=own_process_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(output):
    return torch.load(output / "checkpoint.pt", weights_only=True)


def assert_same(one, other):
    assert one["epoch"] == other["epoch"]
    for part in ("encoder", "sampler"):
        for name, value in one[part].items():
            assert torch.equal(value, other[part][name]), name


def test_it_trains_and_substitutes_once_ssps_has_started(
    corpus, tmp_path, capsys
):
    load_script(SCRIPT).main(arguments(corpus, tmp_path))
    lines = LINE.findall(capsys.readouterr().out)
    assert [int(epoch) for epoch, *_ in lines] == [1, 2, 3, 4]
    coverages = [float(coverage) for *_, coverage in lines]
    assert coverages[:2] == [0, 0] and min(coverages[2:]) > 0.5
    sampler = state(tmp_path)["sampler"]
    # 6 steps of 8 in each of 3 epochs: not one utterance was left out.
    assert int(sampler["bank._seen"].sum()) == 48


def test_a_run_that_is_stopped_and_goes_on_is_the_same_run(corpus, tmp_path):
    train = load_script(SCRIPT)
    train.main(arguments(corpus, tmp_path / "whole"))
    for num_epochs in (3, 4):
        train.main(
            arguments(corpus, tmp_path / "stopped", num_epochs=num_epochs)
        )
    assert_same(state(tmp_path / "whole"), state(tmp_path / "stopped"))


def test_until_ssps_starts_it_is_the_recipe_without_ssps(corpus, tmp_path):
    train = load_script(SCRIPT)
    options = {"num_epochs": 2}
    train.main(arguments(corpus, tmp_path / "filling", **options))
    train.main(arguments(corpus, tmp_path / "off", **options, start_epoch=1000))
    one, other = (state(tmp_path / name) for name in ("filling", "off"))
    for name, value in one["encoder"].items():
        assert torch.equal(value, other["encoder"][name]), name


@pytest.mark.parametrize("name", ["pytorch", "lightning"])
def test_a_recipe_is_short_enough_to_paste(name):
    path = ROOT / "recipes" / name / "train.py"
    assert len(path.read_text().splitlines()) < 150


@pytest.mark.slow
def test_two_ranks_hold_the_same_memories_and_resume(corpus, tmp_path):
    whole = run_on_two_ranks(corpus, tmp_path / "whole")
    assert len(LINE.findall(whole)) == 4  # the main process alone prints
    assert float(LINE.findall(whole)[-1][2]) > 0.5
    for num_epochs in (3, 4):
        run_on_two_ranks(corpus, tmp_path / "stopped", num_epochs=num_epochs)
    one, other = state(tmp_path / "whole"), state(tmp_path / "stopped")
    assert_same(one, other)
    # What both ranks saw: 3 steps of 16 are all 48 utterances.
    assert int(one["sampler"]["bank._seen"].sum()) == 48
