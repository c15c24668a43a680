"""Claims about the recipe on two ranks, over gloo on the CPU."""

import re
import subprocess
import sys

import pytest
import torch

from tests.evaluation.list_server import serving
from tests.recipes.corpora import write_corpus
from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    assert_same_run,
    copy_inside_last_epoch,
    history,
    newest_checkpoint,
    own_process_environment,
    recipe,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS as SMALL_FRAMEWORKS

FRAMEWORKS = {"simclr": {}, **SMALL_FRAMEWORKS}


def run_on_two_ranks(hparams, output, **options):
    options = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "output_folder": output,
        **options,
    }
    launch("train_ssl.py", ROOT / "hparams" / hparams, **options)


def launch(script, hparams, **options):
    """Run a recipe's script as two processes over gloo."""
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    argv = [
        *(sys.executable, *launcher, "--nproc_per_node=2"),
        str(RECIPES / script),
        str(hparams),
        *("--device", "cpu", "--distributed_backend", "gloo"),
    ]
    for key, value in options.items():
        if value is not None:  # None: a key that this YAML does not have
            argv += [f"--{key}", str(value)]
    done = subprocess.run(
        [*argv, "--noprogressbar"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=own_process_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done


# Checkpoints inside epochs, and all of them kept.
INSIDE = {"num_checkpoints": 9, "ckpt_interval_steps": 3}


def resume_inside_the_last_epoch(hparams, whole, again, **options):
    """Go on with a copy of a finished run from before its last epoch's end."""
    copy_inside_last_epoch(whole, again)
    run_on_two_ranks(hparams, again, **options)
    assert_same_run(whole, again)


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_two_ranks_train_to_the_end_and_resume_to_the_same_run(name, tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    options = {"data_folder": corpus, **FRAMEWORKS[name], **INSIDE}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options["use_tensorboard"] = True
    run_on_two_ranks(f"{name}_ssps.yaml", whole, **options)
    assert history(whole)[-1]["coverage"] > 0
    assert (whole / "results.json").is_file()
    assert list((whole / "tensorboard").iterdir())
    resume_inside_the_last_epoch(f"{name}_ssps.yaml", whole, stopped, **options)
    found = memories(stopped)
    for what, value in memories(whole).items():
        assert torch.equal(found[what], value), what


@pytest.mark.slow
def test_two_ranks_read_partners_and_resume_to_the_same_run(tmp_path):
    overlay = ROOT / "hparams" / "small_corpus.yaml"
    options = {"data_folder": write_corpus(tmp_path / "corpus"), **INSIDE}
    options |= {"overlay": overlay, "num_epochs": 4}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_on_two_ranks("simclr_ssps.yaml", whole, **options)
    covered = [row["coverage"] > 0 for row in history(whole)]
    assert covered == [False, False, True, True]
    resume_inside_the_last_epoch("simclr_ssps.yaml", whole, stopped, **options)


@pytest.mark.slow
def test_keys_are_shuffled_in_every_step_over_ranks(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    options = {"data_folder": corpus, **FRAMEWORKS["moco"], "num_epochs": 1}
    run_on_two_ranks("moco_ssps.yaml", tmp_path / "out", **options)
    state = torch.load(newest_checkpoint(tmp_path / "out") / "framework.ckpt")
    assert state["_extra_state"] == 4  # 36 utterances in batches of 8


@pytest.mark.slow
def test_trials_by_address_are_downloaded_by_one_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    corpus = write_corpus(tmp_path / "corpus")
    with serving() as server:
        server.lists["list.txt"] = (
            "1 id000/rec0/00000.wav id000/rec1/00000.wav\n"
            "0 id000/rec0/00000.wav id001/rec0/00000.wav\n"
        )
        run_on_two_ranks(
            "simclr_ssps.yaml",
            tmp_path / "out",
            data_folder=corpus,
            trials=f"{server.address}list.txt",
            num_epochs=1,
        )
        assert server.asked == ["list.txt"]
    assert "eer" in history(tmp_path / "out")[0]


@pytest.mark.slow
def test_two_ranks_score_lists_as_one_and_one_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    corpus, output = write_corpus(tmp_path / "corpus"), tmp_path / "out"
    run("simclr.yaml", output, data_folder=corpus, num_epochs=1)
    saved = output / "hyperparams.yaml"
    options = {"trials_folder": corpus, "cohort_size": 12, "cohort_top_n": 5}
    with serving() as server:
        server.lists["own.txt"] = (output / "trials.txt").read_text()
        address = f"{server.address}own.txt"
        options["trials"] = f"[{address}, {output / 'trials.txt'}]"
        shared = launch("verify.py", saved, **options)
        assert server.asked == ["own.txt"]
    assert shared.stdout.count("trials of") == 2  # a line a list
    folder = output / "verify"
    found = {path: path.read_text() for path in folder.glob("*/scores.txt")}
    assert [path.parent.name for path in sorted(found)] == ["own", "trials"]
    argv = [f"--{key}={value}" for key, value in options.items()]
    recipe("verify").main([str(saved), *argv])
    for path, text in found.items():
        alone = [row.split() for row in path.read_text().splitlines()]
        for row, other in zip(alone, text.splitlines(), strict=True):
            score, *names = other.split()
            assert names == row[1:]
            # Cohort scores lie close together here: their deviation, which
            # the scores are divided by, is of the order of 1e-3.
            assert float(score) == pytest.approx(float(row[0]), abs=0.01)


def without_batch_norm(name, folder):
    """Write a framework's YAML with an encoder and a head without any.

    Batch statistics over the ranks need a GPU.
    """
    text = (ROOT / "hparams" / f"{name}_ssps.yaml").read_text()
    text, num_encoders = re.subn(
        r"ECAPA_TDNN\.ECAPA_TDNN\n(.*\n)(.*\n).*\n.*\n",
        r"PLAIN\n\1\2",
        text,
    )
    assert num_encoders == 1
    plain = "tests.recipes.plain_encoder.PlainEncoder"
    text = text.replace("speechbrain.lobes.models.PLAIN", plain)
    # Without a hidden layer a head has no batch norm.
    text = re.sub(r"dims: (\[.*?>,).*(<\w+>\])", r"dims: \1 !ref \2", text)
    path = folder / f"{name}_ssps.yaml"
    path.write_text(text)
    return path


def memories(output):
    """What a run remembers and has drawn, in the order of the utterances."""
    state = torch.load(newest_checkpoint(output) / "sampler.ckpt")
    slots = state["queue._slot_of_utterance"][:-1].long()
    return {
        "references": state["bank._table"][:-1],
        "queued": slots >= 0,
        "positives": state["queue._rows"][:, slots[slots >= 0]],
        "counts": state["_counts"],
        "clusters": state["strategy.clusters"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_two_ranks_train_as_one_process_with_the_joint_batch(name, tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    hparams = without_batch_norm(name, tmp_path)
    options = {
        "data_folder": corpus,
        "overlay": ROOT / "hparams" / "minivox.yaml",
        # Whitening so few references would blow rounding up.
        "whitening": 0.0,
        **FRAMEWORKS[name],
    }
    run(str(hparams), tmp_path / "one", **options)
    run_on_two_ranks(hparams, tmp_path / "two", **options)
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    for alone, shared in zip(one, two, strict=True):
        # 40 trials: one that changes places moves the error rates by 5 %.
        for metric in ("eer", "min_dcf_0.01", "min_dcf_0.05"):
            assert shared.pop(metric) == pytest.approx(alone.pop(metric), 0.2)
        # Of halves of the batch; the fewer rows, the nearer to their mean.
        for metric, tolerance in (
            ("output_std", 0.2),
            ("teacher_information", 0.4),
        ):
            halves, whole = shared.pop(metric, 0), alone.pop(metric, 0)
            assert halves == pytest.approx(whole, tolerance)
        # Of references that are nearly alike, and the same to 0.02 (below).
        rank, of_one = (row.pop("effective_rank", 0) for row in (shared, alone))
        assert rank == pytest.approx(of_one, rel=0.02)
        assert shared == pytest.approx(alone, rel=1e-3)
    alone, shared = memories(tmp_path / "one"), memories(tmp_path / "two")
    for what, value in alone.items():
        # Rounding grows over the steps, by Adam's division above all.
        torch.testing.assert_close(shared[what], value, rtol=0.02, atol=0.02)
