"""Claims about `ssps train` and `ssps verify`: the recipes' own code."""

import re
import shutil

import pytest

from tests.commands.conftest import is_one_message
from tests.recipes.running import RECIPES, ROOT, SMALL, assert_same_run

SCRIPT = RECIPES / "train_ssl.py"


def options(corpus, output):
    given = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "data_folder": corpus,
        "output_folder": output,
        "num_workers": 0,
    }
    return [f"--{key}={value}" for key, value in given.items()]


@pytest.mark.slow
def test_the_command_the_module_and_the_recipe_train_the_same(
    program, corpus, tmp_path
):
    calls = {
        "recipe": (SCRIPT, "hparams/simclr_ssps.yaml"),
        "module": ("-m", "ssps_plugin", "train", "simclr_ssps"),
    }
    for name, call in calls.items():
        answer = program(
            *call,
            *options(corpus, tmp_path / name),
            cwd=ROOT if name == "recipe" else tmp_path,
        )
        assert answer.status == 0, answer.err
        assert answer.err == ""
        assert "Done. In" in answer.out
    assert_same_run(tmp_path / "recipe", tmp_path / "module")


@pytest.mark.slow
def test_two_ranks_train_by_torchrun(program, corpus, tmp_path):
    answer = program(
        *("-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("--master_port=29533", "-m", "ssps_plugin", "train", "simclr_ssps"),
        *options(corpus, tmp_path / "out"),
        *("--distributed_backend=gloo", "--device=cpu"),
        "--sync_batchnorm=False",
    )
    assert answer.status == 0, answer.err
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("call", ["recipe", "command"])
def test_an_error_is_one_message_and_the_log_has_the_traceback(
    call, program, corpus, tmp_path
):
    start = (SCRIPT, str(ROOT / "hparams" / "simclr_ssps.yaml"))
    if call == "command":
        start = ("-m", "ssps_plugin", "train", "simclr_ssps")
    arguments = [*options(corpus, tmp_path / "out"), "--num_neighbors=2"]
    arguments = [
        re.sub("ssps_start_epoch=.*", "ssps_start_epoch=1", one)
        for one in arguments
    ]
    answer = program(*start, *arguments)
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert "Traceback" not in answer.out
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log
    shutil.rmtree(tmp_path / "out")
    debug = program(*start, *arguments, SSPS_DEBUG="1")
    assert debug.status == 1
    assert "Traceback" in debug.out + debug.err


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train_ssl.py", "verify.py"])
def test_a_recipe_typed_by_its_file_has_messages_and_help(script, program):
    answer = program(RECIPES / script, "nothing.yaml")
    assert answer.status == 1
    assert answer.out == ""
    assert is_one_message(answer.err)
    shown = program(RECIPES / script, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"Usage: python {RECIPES / script} ")


def test_an_unknown_key_is_named(ssps):
    answer = ssps("train", "simclr_ssps", "--num_cluster", "3")
    assert answer.status == 1
    assert is_one_message(answer.err)
    assert "did you mean --num_clusters?" in answer.err


def test_verify_takes_the_folder_of_a_run(ssps, finished):
    answer = ssps("verify", finished, "--device", "cpu")
    assert answer.status == 0, answer.err
    written = finished / "verify" / "trials" / "scores.txt"
    assert written.read_text() == (finished / "scores.txt").read_text()
