"""GPUs and processes that a command runs on, compiled encoders, patches."""

import copy
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch
import torch.distributed as dist
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.run_opts import RunOptions
from torch import nn

from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.runtime import (
    check_devices,
    compile_encoders,
    process_group,
    uncompiled,
    unsynchronised_batch_norm,
)
from tests.recipes.running import ROOT, own_process_environment, recipe


@pytest.fixture
def machine(monkeypatch):
    """Make this a machine with some GPUs, and torchrun start processes."""
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def make(num_gpus, num_processes=None, local_rank=0):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
        if num_processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", str(num_processes))
            monkeypatch.setenv("LOCAL_RANK", str(local_rank))

    return make


def check(device=None, backend="nccl"):
    check_devices({"device": device, "distributed_backend": backend})


def test_speechbrains_defaults_are_no_device_and_nccl():
    options = RunOptions()
    assert options["device"] is None
    assert options["distributed_backend"] == "nccl"


def test_a_laptop_without_a_gpu_trains_on_the_cpu_by_default(
    machine, monkeypatch
):
    machine(num_gpus=0)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    check()
    assert infer_device() == "cpu"


@pytest.mark.parametrize("device", [None, "cuda"])
@pytest.mark.parametrize("local_rank", [0, 3])
def test_more_processes_than_gpus_are_refused_by_every_process(
    machine, device, local_rank
):
    machine(num_gpus=2, num_processes=4, local_rank=local_rank)
    with pytest.raises(ValueError) as caught:
        check(device)
    message = str(caught.value)
    assert "got 4 processes" in message
    assert "there are 2, cuda:0, cuda:1" in message
    assert "--nproc_per_node=2" in message


@pytest.mark.parametrize("num_processes", [1, 2])
def test_processes_without_any_gpu_are_told_how_to_train_on_the_cpu(
    machine, num_processes
):
    machine(num_gpus=0, num_processes=num_processes)
    with pytest.raises(ValueError, match="--device cpu --distributed_b") as e:
        check()
    assert "finds no GPU" in str(e.value)
    assert "nproc" not in str(e.value)


def test_a_gpu_for_each_process_is_enough(machine):
    machine(num_gpus=4, num_processes=4, local_rank=3)
    check()
    check(backend="gloo")


def test_over_gloo_too_each_process_takes_a_gpu_of_its_own(machine):
    machine(num_gpus=2, num_processes=3)
    with pytest.raises(ValueError, match="got 3 processes"):
        check(backend="gloo")


def test_over_gloo_processes_train_on_the_cpu_where_there_is_no_gpu(machine):
    machine(num_gpus=0, num_processes=2)
    check(backend="gloo")


def test_over_gloo_processes_may_share_a_gpu_that_is_named(machine):
    machine(num_gpus=1, num_processes=2)
    check("cuda:0", backend="gloo")


def test_over_nccl_processes_may_not_share_a_gpu(machine):
    machine(num_gpus=2, num_processes=2)
    with pytest.raises(ValueError, match="leave --device out"):
        check("cuda")


@pytest.mark.parametrize(
    ("device", "num_gpus"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)]
)
def test_a_gpu_that_is_not_there_is_refused(machine, device, num_gpus):
    machine(num_gpus)
    with pytest.raises(ValueError, match=f"got {device} where"):
        check(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:2"])
def test_a_gpu_that_is_there_is_taken(machine, device):
    machine(num_gpus=3)
    check(device)


def test_what_hides_gpus_is_named(machine, monkeypatch):
    machine(num_gpus=1, num_processes=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES=5"):
        check()


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_nothing_is_checked_with_a_device_that_is_no_gpu(machine, device):
    machine(num_gpus=0, num_processes=4)
    check(device)


@pytest.mark.parametrize("name", ["train_ssl", "verify"])
def test_recipes_refuse_before_they_do_anything(
    machine, tmp_path, monkeypatch, name
):
    machine(num_gpus=0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="got cuda:3 where"):
        recipe(name).main(
            [str(ROOT / "hparams" / "simclr.yaml"), "--device", "cuda:3"]
        )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def alone_in_group(monkeypatch):
    """What torchrun says to the only process that it starts."""
    environment = {
        **{"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0},
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))


def test_process_group_is_joined_and_left(alone_in_group):
    options = {"device": "cpu", "distributed_backend": "gloo"}
    with process_group(options):
        assert dist.is_initialized()
    assert not dist.is_initialized()


TRAIN_AND_LEAVE = """
import pathlib

from ssps_plugin.training import process_group

def num_threads():
    return len(list(pathlib.Path("/proc/self/task").iterdir()))

def train():
    import torch

    module = torch.nn.Linear(2, 2)
    module = torch.nn.parallel.DistributedDataParallel(module)
    module.holds_itself = [module]
    module(torch.ones(1, 2)).sum().backward()

alone = num_threads()
with process_group({"device": "cpu", "distributed_backend": "gloo"}):
    train()
    print(num_threads() - alone)
print(num_threads() - alone)
"""


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/task").exists(), reason="no list of threads"
)
def test_a_process_that_leaves_has_none_of_the_groups_threads(alone_in_group):
    """A thread that outlives the interpreter aborts the process."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_LEAVE],
        **{"check": True, "capture_output": True, "text": True},
        env=own_process_environment(),
    )
    inside, after = map(int, done.stdout.split())
    assert inside > 0
    assert after == 0


def test_without_torchrun_no_group_is_joined(machine):
    machine(num_gpus=0)
    with process_group({"device": "cpu", "distributed_backend": "gloo"}):
        assert not dist.is_initialized()


def test_devices_are_checked_before_a_group_is_joined(machine):
    machine(num_gpus=1, num_processes=2)
    with (
        pytest.raises(ValueError, match="got 2 processes"),
        process_group({"device": None, "distributed_backend": "nccl"}),
    ):
        pass
    assert not dist.is_initialized()


class Pair(nn.Module):
    """A student and its teacher, as frameworks hold them."""

    def __init__(self):
        super().__init__()
        self.student = EmbeddingModel(Frames(), Keep(), Encoder())
        self.teacher = copy.deepcopy(self.student)


class Frames(nn.Module):
    def forward(self, wavs):
        return wavs.unflatten(1, (-1, 4))


class Keep(nn.Module):
    def forward(self, features, lengths):
        return features


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, features, lengths):
        return self.layer(features).mean(1, keepdim=True)


@pytest.fixture
def compiled_calls(monkeypatch):
    """Counts the calls of compiled code: of a backend of the test's own."""
    torch.compiler.reset()
    calls = []

    def backend(graph, inputs):
        def run(*arguments):
            calls.append(len(arguments))
            return graph.forward(*arguments)

        return run

    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module,
        "compile",
        lambda module, backend_name=None, **_: compile_module(
            module, backend=backend
        ),
    )
    yield calls
    torch.compiler.reset()


def test_student_and_teacher_run_compiled_and_give_what_they_gave(
    compiled_calls,
):
    pair, wavs = Pair(), torch.randn(2, 8)
    expected = pair.student(wavs)
    assert not compiled_calls
    assert compile_encoders(pair, "eager") == 2
    for model in (pair.student, pair.teacher):
        before = len(compiled_calls)
        torch.testing.assert_close(model(wavs), expected)
        assert len(compiled_calls) > before


def test_parameters_keep_their_names(compiled_calls):
    pair = Pair()
    names = list(pair.state_dict())
    compile_encoders(pair, "eager")
    assert list(pair.state_dict()) == names


def test_uncompiled_runs_it_as_it_was_written(compiled_calls):
    pair, wavs = Pair(), torch.randn(2, 8)
    compile_encoders(pair, "eager")
    pair.student(wavs)
    before = len(compiled_calls)
    with uncompiled():
        pair.student(torch.randn(2, 12))
    assert len(compiled_calls) == before


def test_an_unknown_backend_is_refused_by_name():
    with pytest.raises(ValueError, match="inductr.*compile_backend"):
        compile_encoders(Pair(), "inductr")


@pytest.fixture
def converted(monkeypatch):
    """What SpeechBrain's wrapping makes of a batch norm under a Brain."""

    def convert(brain):
        made = sb.core.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(2))
        brain.made = made

    monkeypatch.setattr(sb.Brain, "_wrap_distributed", convert)

    def wrap(device_type, synchronise):
        brain = SSLBrain.__new__(SSLBrain)
        brain.device_type = device_type
        brain.hparams = SimpleNamespace(sync_batchnorm=synchronise)
        brain._wrap_distributed()
        return type(brain.made)

    return wrap


@pytest.mark.parametrize(
    ("device_type", "synchronise", "expected"),
    [
        ("cuda", True, nn.SyncBatchNorm),
        ("cuda", False, nn.BatchNorm1d),
        ("cpu", True, nn.BatchNorm1d),  # it refuses to train there
    ],
)
def test_batch_norm_is_synchronised_on_gpus_where_asked_for(
    converted, device_type, synchronise, expected
):
    assert converted(device_type, synchronise) is expected


def test_afterwards_speechbrain_converts_as_before():
    with unsynchronised_batch_norm():
        pass
    assert sb.core.SyncBatchNorm is nn.SyncBatchNorm
