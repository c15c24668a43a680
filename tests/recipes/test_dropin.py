"""The drop-in recipes: twelve lines apart, equal until SSPS starts."""

import csv
import difflib
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import speechbrain as sb
import torch

from ssps_plugin import ClusteringSampling

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "dropin"
README = RECIPE / "README.md"
START_EPOCH = 3
NUM_EPOCHS = 4
NUM_UTTERANCES = 48
BATCH_SIZE = 16
TINY = {
    "crop_seconds": 0.4,
    "num_workers": 0,
    "batch_size": BATCH_SIZE,
    "number_of_epochs": NUM_EPOCHS,
    "embedding_model": "{channels: [8, 8, 8, 8, 16], attention_channels: 8, "
    "se_channels: 8, res2net_scale: 2}",
}
Options = dict[str, Any]


def tiny_ssps(start_epoch: int = START_EPOCH, num_targets: int = 2) -> Options:
    """Fit the settings with SSPS to the tiny corpus."""
    sampler = (
        f"{{strategy: {{num_clusters: 12}}, queue_size: {NUM_UTTERANCES}, "
        f"start_epoch: {start_epoch}, num_targets: {num_targets}}}"
    )
    return {**TINY, "sampler": sampler}


def arguments(options: Options) -> list[str]:
    return ["--noprogressbar", *(f"--{k}={v}" for k, v in options.items())]


@dataclass
class Step:
    """What one training step saw and gave."""

    epoch: int
    ids: list[str]
    loss: float
    num_anchors: int  # that the sampler looked at so far in this epoch
    num_covered: int  # those with a pseudo-positive


@dataclass
class Run:
    """A recipe's run: its steps and, where it ended, its Brain."""

    steps: list[Step] = field(default_factory=list)
    brain: Any = None

    def losses(self, epochs: range) -> list[float]:
        return [step.loss for step in self.steps if step.epoch in epochs]

    def ids(self, epoch: int) -> list[str]:
        steps = [step for step in self.steps if step.epoch == epoch]
        return [name for step in steps for name in step.ids]

    def coverage(self, epoch: int) -> float:
        last = [step for step in self.steps if step.epoch == epoch][-1]
        return last.num_covered / last.num_anchors


class Interrupted(Exception):
    """Raised where a job's time would end."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Buzzing voices of uneven length; the CSV names no speaker."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    rows = []
    for voice in range(NUM_UTTERANCES // 6):
        for number in range(6):
            seconds = 0.3 + 0.1 * number
            time = np.arange(round(seconds * 16000)) / 16000
            buzz = np.sign(np.sin(2 * np.pi * (100 + 40 * voice) * time))
            noise = rng.standard_normal(len(time))
            name = f"{voice}-{number}"
            soundfile.write(
                folder / f"{name}.wav", 0.2 * buzz + 0.02 * noise, 16000
            )
            rows.append([name, seconds, f"$data_root/{name}.wav"])
    with open(folder / "train.csv", "w", encoding="utf-8", newline="") as fout:
        csv.writer(fout).writerows([["ID", "duration", "wav"], *rows])
    return {"train_csv": folder / "train.csv", "data_folder": folder}


def execute(
    script: Path,
    hparams: Path,
    options: Options,
    before_step: Callable[[Any, int], None] = lambda brain, step: None,
) -> Run:
    """Run a recipe in this process, its steps recorded."""
    run = Run()
    fit_batch = sb.Brain.fit_batch

    def recorded(brain: Any, batch: Any) -> torch.Tensor:
        run.brain = brain
        epoch = brain.hparams.epoch_counter.current
        before_step(brain, epoch)
        loss = fit_batch(brain, batch)
        counts = [0, 0]
        if "sampler" in brain.modules:
            counts = brain.modules.sampler._counts.tolist()
        run.steps.append(
            Step(epoch, list(batch.id), float(loss), counts[0], counts[1])
        )
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sb.Brain, "fit_batch", recorded)
        patch.setattr(
            sys, "argv", [str(script), str(hparams), *arguments(options)]
        )
        # What would outlive the run in this process, or asks pip.
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setenv("SB_GLOBAL_SEED", "0")
        patch.setattr("speechbrain.utils.logger.setup_logging", _nothing)
        patch.setattr(
            "speechbrain.utils.logger.get_environment_description", str
        )
        runpy.run_path(str(script), run_name="__main__")
    return run


def _nothing(*_: Any, **__: Any) -> None:
    pass


def execute_ssps(options: Options, **hooks: Any) -> Run:
    return execute(
        RECIPE / "train_ssps.py",
        RECIPE / "train_ssps.yaml",
        {**tiny_ssps(), **options},
        **hooks,
    )


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plain")


@pytest.fixture(scope="module")
def plain(corpus: Options, plain_folder: Path) -> Run:
    options = {**TINY, **corpus, "output_folder": plain_folder}
    return execute(RECIPE / "train.py", RECIPE / "train.yaml", options)


@pytest.fixture(scope="module")
def ssps(corpus: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output_folder = tmp_path_factory.mktemp("ssps")
    return execute_ssps({**corpus, "output_folder": output_folder})


def difference(suffix: str) -> list[str]:
    """Compare the two recipes, as `diff -u` prints it, without file dates."""
    names = [f"train{suffix}", f"train_ssps{suffix}"]
    texts = [(RECIPE / name).read_text(encoding="utf-8") for name in names]
    lines = [text.splitlines() for text in texts]
    return list(difflib.unified_diff(*lines, *names, lineterm=""))


def test_difference_is_at_most_twelve_added_lines() -> None:
    lines = [*difference(".yaml")[2:], *difference(".py")[2:]]
    assert 0 < sum(line.startswith("+") for line in lines) <= 12
    assert not any(line.startswith("-") for line in lines)


def test_readme_prints_the_difference() -> None:
    readme = README.read_text(encoding="utf-8")
    printed = re.findall(r"```diff\n(.*?)\n```", readme, re.DOTALL)
    expected = ["\n".join(difference(suffix)) for suffix in (".yaml", ".py")]
    assert printed == expected


def test_checkpoints_are_saved_by_ours_and_the_readme_offers_it() -> None:
    line = "checkpointer: !new:ssps_plugin.training.AtomicCheckpointer\n"
    for name in ("train.yaml", "train_ssps.yaml", "README.md"):
        assert line in (RECIPE / name).read_text(encoding="utf-8")


def test_a_damaged_checkpoint_is_passed_over(
    plain: Run, plain_folder: Path, corpus: Options, tmp_path: Path
) -> None:
    shutil.copytree(plain_folder / "save", tmp_path / "save")
    (newest,) = (tmp_path / "save").glob("CKPT*")
    damaged = newest.with_name("CKPT+later")
    shutil.copytree(newest, damaged)
    meta = damaged / "CKPT.yaml"
    meta.write_text(meta.read_text().replace("number: ", "number: 9"))
    assert "number: 9" in meta.read_text()
    (damaged / "embedding_model.ckpt").write_bytes(b"cut o")
    options = {**TINY, **corpus, "output_folder": tmp_path}
    options["number_of_epochs"] = NUM_EPOCHS + 1
    run = execute(RECIPE / "train.py", RECIPE / "train.yaml", options)
    assert {step.epoch for step in run.steps} == {NUM_EPOCHS + 1}
    assert (tmp_path / "save" / "DAMAGED+CKPT+later").is_dir()


def test_losses_are_the_same_bit_for_bit_until_ssps_starts(
    plain: Run, ssps: Run
) -> None:
    before, after = range(1, START_EPOCH), range(START_EPOCH, NUM_EPOCHS + 1)
    steps_per_epoch = NUM_UTTERANCES // BATCH_SIZE
    assert len(plain.steps) == len(ssps.steps) == NUM_EPOCHS * steps_per_epoch
    assert ssps.losses(before) == plain.losses(before)
    assert ssps.losses(after) != plain.losses(after)
    # The crops and their order stay the same ones all the way.
    for epoch in range(1, NUM_EPOCHS + 1):
        assert ssps.ids(epoch) == plain.ids(epoch)


def test_a_reference_of_the_wrong_size_is_found_in_the_first_step(
    corpus: Options, tmp_path: Path
) -> None:
    # As published, SSPS starts in epoch 101.
    sampler = tiny_ssps(101)["sampler"].replace(
        "num_targets", "reference_dim: 191, num_targets"
    )
    steps: list[int] = []
    with pytest.raises(ValueError, match="got .*192.*change reference_dim"):
        execute_ssps(
            {**corpus, "output_folder": tmp_path, "sampler": sampler},
            before_step=lambda brain, epoch: steps.append(epoch),
        )
    assert steps == [1]


def test_pseudo_positives_are_drawn_from_the_start_epoch_on(ssps: Run) -> None:
    assert ssps.coverage(START_EPOCH - 1) == 0.0
    assert ssps.coverage(START_EPOCH) > 0.5
    sampler = ssps.brain.modules.sampler
    anchors, drawn = sampler.last_draw
    assert (drawn >= 0).any()
    assert not (drawn == anchors).any()
    metrics = sampler.metrics()
    assert metrics["coverage"] == ssps.coverage(NUM_EPOCHS)
    assert metrics["queue_fill"] == metrics["seen"] == 1.0


def test_dynamic_batches_of_uneven_size_are_substituted(
    corpus: Options, tmp_path: Path
) -> None:
    run = execute_ssps(
        {
            **corpus,
            "output_folder": tmp_path,
            "dynamic_batching": True,
            "dynamic_batch_sampler": "{max_batch_length: 5.0, "
            "bucket_boundaries: [0.3, 0.4]}",
        }
    )
    assert len({len(step.ids) for step in run.steps}) > 1
    assert run.coverage(NUM_EPOCHS) > 0.5
    # Every utterance comes once an epoch, whatever its batch.
    assert len(run.ids(NUM_EPOCHS)) == NUM_UTTERANCES
    assert len(set(run.ids(NUM_EPOCHS))) == NUM_UTTERANCES


def test_resumes_inside_an_epoch_without_clustering_again(
    corpus: Options, ssps: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        **corpus,
        "output_folder": tmp_path,
        "ckpt_interval_steps": 1,
    }
    clusterings: list[int] = []
    prepare = ClusteringSampling.prepare

    def counted(
        self: Any, bank: Any, queue: Any, seed: int, epoch: int
    ) -> None:
        clusterings.append(epoch)
        prepare(self, bank, queue, seed, epoch)

    monkeypatch.setattr(ClusteringSampling, "prepare", counted)

    states: list[dict[str, torch.Tensor]] = []

    def interrupt(brain: Any, epoch: int) -> None:
        if epoch == START_EPOCH and brain.step == 3:
            states.append(_state(brain))
            raise Interrupted

    with pytest.raises(Interrupted):
        execute_ssps(options, before_step=interrupt)

    def remember(brain: Any, epoch: int) -> None:
        states.append(_state(brain))

    resumed = execute_ssps(options, before_step=remember)
    assert [step.epoch for step in resumed.steps] == [3, 4, 4, 4]
    assert clusterings == [3, 4]
    assert resumed.ids(START_EPOCH) == ssps.ids(START_EPOCH)[-BATCH_SIZE:]
    stopped, recovered = states[:2]
    for name, value in stopped.items():
        assert torch.equal(recovered[name], value), name
    assert resumed.coverage(NUM_EPOCHS) > 0.5


def test_readme_goes_on_from_a_run_without_ssps(
    plain: Run, plain_folder: Path, corpus: Options, tmp_path: Path
) -> None:
    shutil.copytree(plain_folder / "save", tmp_path / "save")
    hparams = adapted(
        "train_ssps.yaml",
        tmp_path,
        "    checkpoints_dir: !ref <save_folder>\n",
        "    checkpoints_dir: !ref <save_folder>\n"
        "    allow_partial_load: true\n",
    )
    start_epoch = NUM_EPOCHS + 2
    run = execute(
        RECIPE / "train_ssps.py",
        hparams,
        {
            **tiny_ssps(start_epoch),
            **corpus,
            "output_folder": tmp_path,
            "number_of_epochs": start_epoch,
        },
    )
    assert {step.epoch for step in run.steps} == {NUM_EPOCHS + 1, start_epoch}
    assert run.coverage(NUM_EPOCHS + 1) == 0.0
    assert run.coverage(start_epoch) > 0.5
    assert "    allow_partial_load: true\n" in README.read_text("utf-8")


def test_readme_repeats_ids_and_logs_metrics(
    corpus: Options, tmp_path: Path
) -> None:
    # The README's two variants, in one run: copies laid below each other
    # (so every utterance comes twice in a step), and coverage in the log.
    repeated = "batch.id * copies, reference.repeat(copies, 1), positives"
    logged = '{"loss": stage_loss, **self.modules.sampler.metrics()}'
    script = adapted(
        "train_ssps.py",
        tmp_path,
        "self.modules.sampler(batch.id, reference, positives)",
        "self.modules.sampler("
        + repeated.replace("copies", "2")
        + ".flatten(0, 1)).view_as(positives)",
        '{"loss": stage_loss}',
        logged,
    )
    run = execute(
        script,
        RECIPE / "train_ssps.yaml",
        {
            **tiny_ssps(num_targets=1),
            **corpus,
            "output_folder": tmp_path / "run",
        },
    )
    assert run.coverage(NUM_EPOCHS) > 0.5
    assert len(run.brain.modules.sampler.last_draw[0]) == 2 * BATCH_SIZE
    log = (tmp_path / "run" / "train_log.txt").read_text(encoding="utf-8")
    assert "coverage" in log
    readme = README.read_text(encoding="utf-8")
    assert repeated in " ".join(readme.split())
    assert logged in readme


def adapted(name: str, folder: Path, *replacements: str) -> Path:
    """Copy a file of the recipe with some text replaced by other text."""
    text = (RECIPE / name).read_text(encoding="utf-8")
    for old, new in zip(replacements[::2], replacements[1::2], strict=True):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.slow
def test_two_ranks_remember_the_same(corpus: Options, tmp_path: Path) -> None:
    launcher = tmp_path / "rank.py"
    launcher.write_text(RANK, encoding="utf-8")
    options = {
        **tiny_ssps(),
        **corpus,
        "batch_size": BATCH_SIZE // 2,
        "output_folder": tmp_path / "run",
        "distributed_backend": "gloo",
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node=2", str(launcher)),
        *(str(RECIPE / "train_ssps.py"), str(RECIPE / "train_ssps.yaml")),
        *arguments(options),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=300)
    one, other = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=False)
        for rank in range(2)
    )
    assert one["_counts"][1] > 0
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name]), name


# Synchronised batch norm, which SpeechBrain puts in, needs a GPU.
RANK = """
import os, pathlib, runpy, sys, torch
torch.nn.SyncBatchNorm.convert_sync_batchnorm = staticmethod(lambda m: m)
sys.argv = sys.argv[1:]
end = runpy.run_path(sys.argv[0], run_name="__main__")
folder = pathlib.Path(end["hparams"]["output_folder"]).parent
state = end["brain"].modules.sampler.state_dict()
torch.save(state, folder / f"rank{os.environ['RANK']}.pt")
"""


def _state(brain: Any) -> dict[str, torch.Tensor]:
    state = brain.modules.sampler.state_dict()
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    return {name: value.clone() for name, value in tensors.items()}
