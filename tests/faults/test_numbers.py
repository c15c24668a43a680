"""Numbers that go wrong in a run: what is left of it, and what is said."""

import itertools
import math
import shutil

import pytest
import torch

from ssps_plugin.evaluation import cosine_scores, verification
from ssps_plugin.evaluation.scoring import NoDirectionError
from ssps_plugin.training import SSLBrain
from tests.recipes.running import history, newest_checkpoint, run
from tests.recipes.test_frameworks import FRAMEWORKS as SMALL

FRAMEWORKS = {"simclr": {"margin": "!new:ssps_plugin.losses.CurricularMargin"}}
FRAMEWORKS |= SMALL
TINY = {"num_epochs": 2, "verify_interval": 9, "num_made_trials": 4}
FAULTS = ("loss", "gradient", "features")

pytestmark = pytest.mark.slow


class Spoiler:
    """Makes one step of a run go wrong, and keeps the state around it."""

    def __init__(self, monkeypatch, fault, step):
        self.before, self.after, self.fault = None, None, fault
        fit_batch = SSLBrain.fit_batch
        objectives = SSLBrain.compute_objectives
        forward = SSLBrain.compute_forward
        spoiler = self

        def spoiled_objectives(brain, predictions, batch, stage):
            loss = objectives(brain, predictions, batch, stage)
            if spoiler.is_now and fault == "loss":
                return loss * math.nan
            if spoiler.is_now and fault == "gradient":
                # The loss stays as it is, its gradient is 0 / 0.
                zero = (predictions.anchors * 0).sum()
                return loss + (zero.sqrt() * 0).nan_to_num(0.0)
            return loss

        def spoiled_forward(brain, batch, stage):
            if spoiler.is_now and fault == "features":
                for key in ("views", "global_views"):
                    if hasattr(batch, key):
                        getattr(batch, key).data[0, 0, 100] = 1e30
            return forward(brain, batch, stage)

        def watched(brain, batch):
            spoiler.is_now = (brain.epoch_counter.current, brain.step) == step
            if spoiler.is_now:
                spoiler.before = state_of(brain)
            loss = fit_batch(brain, batch)
            if spoiler.is_now:
                spoiler.after, spoiler.ids = state_of(brain), list(batch.id)
            return loss

        monkeypatch.setattr(SSLBrain, "compute_objectives", spoiled_objectives)
        monkeypatch.setattr(SSLBrain, "compute_forward", spoiled_forward)
        monkeypatch.setattr(SSLBrain, "fit_batch", watched)


def state_of(brain):
    """Everything that a checkpoint would hold of what is trained."""
    state = {
        f"{name}.{key}": value.detach().clone()
        for name, module in brain.modules.items()
        for key, value in module.state_dict().items()
    }
    state["report"] = brain.report.counts.clone()
    for number, entry in brain.optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            state[f"optimizer.{number}.{key}"] = torch.as_tensor(value).clone()
    return state


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_step_that_is_left_out_changes_nothing(
    name, fault, corpus, tmp_path, monkeypatch
):
    spoiler = Spoiler(monkeypatch, fault, step=(2, 2))
    options = {"data_folder": corpus, "ssps_start_epoch": 2, **TINY}
    log = run(f"{name}_ssps.yaml", tmp_path, **options, **FRAMEWORKS[name])
    assert "is not finite" in log
    assert all(utterance in log for utterance in spoiler.ids)
    assert spoiler.before.keys() == spoiler.after.keys()
    for key, value in spoiler.before.items():
        assert torch.equal(spoiler.after[key], value), key
    # And the run went on to a model that is finite.
    saved = torch.load(newest_checkpoint(tmp_path) / "framework.ckpt")
    for key, value in saved.items():
        if value.is_floating_point():
            assert value.isfinite().all(), key
    assert math.isfinite(history(tmp_path)[-1]["loss"])


def test_steps_left_out_are_counted_over_epochs_and_end_the_run(
    corpus, tmp_path, monkeypatch
):
    objectives = SSLBrain.compute_objectives

    def spoiled(brain, predictions, batch, stage):
        loss = objectives(brain, predictions, batch, stage)
        # The last of an epoch's four steps.
        return loss * math.nan if brain.step == 4 else loss

    monkeypatch.setattr(SSLBrain, "compute_objectives", spoiled)
    options = {**TINY, "num_epochs": 9}
    with pytest.raises(ValueError, match="got 3 that are not.*lower the learn"):
        run(
            "simclr.yaml",
            tmp_path,
            "--nonfinite_patience=2",
            data_folder=corpus,
            **options,
        )
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]
    monkeypatch.undo()
    log = run("simclr.yaml", tmp_path, data_folder=corpus, **options)
    assert [row["epoch"] for row in history(tmp_path)] == [*range(1, 10)]
    assert "damaged" not in log


def test_a_state_that_is_not_finite_is_not_saved(corpus, tmp_path, monkeypatch):
    begin = SSLBrain.on_stage_end

    def spoiled(brain, stage, loss, epoch=None):
        if epoch == 2:
            next(brain.framework.parameters()).data[0] = math.inf
        return begin(brain, stage, loss, epoch)

    monkeypatch.setattr(SSLBrain, "on_stage_end", spoiled)
    with pytest.raises(RuntimeError, match=r"finite state.*framework\."):
        run("simclr.yaml", tmp_path, data_folder=corpus, **TINY)
    saved = torch.load(newest_checkpoint(tmp_path) / "framework.ckpt")
    assert all(
        value.isfinite().all()
        for value in saved.values()
        if value.is_floating_point()
    )
    assert [row["epoch"] for row in history(tmp_path)] == [1]


def test_gradients_that_would_never_be_stepped_on_are_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="at most 4.*got 5.*nothing would"):
        run(
            "simclr.yaml",
            tmp_path,
            "--grad_accumulation_factor=5",
            data_folder=corpus,
            **TINY,
        )


@pytest.mark.parametrize("name", ["simclr", "moco", "vicreg", "swav"])
def test_a_collapsed_model_is_named(name, corpus, tmp_path, monkeypatch):
    forward = SSLBrain.compute_forward

    def alike(brain, batch, stage):
        found = forward(brain, batch, stage)
        anchors = found.anchors
        mean = anchors.mean(-2, keepdim=True)
        return found._replace(anchors=anchors * 1e-3 + mean * 0 + 1.0)

    monkeypatch.setattr(SSLBrain, "compute_forward", alike)
    options = {"data_folder": corpus, **TINY, "num_epochs": 1}
    log = run(f"{name}.yaml", tmp_path, **options, **FRAMEWORKS[name])
    assert "has collapsed, or is about to" in log
    assert "lower learning rate" in log


def test_a_sound_model_is_not_called_collapsed(corpus, tmp_path):
    log = run("simclr.yaml", tmp_path, data_folder=corpus, **TINY)
    assert "collapsed" not in log


def test_weights_that_have_diverged_are_named(corpus, tmp_path):
    options = {"data_folder": corpus, **TINY, "num_epochs": 1}
    log = run("simclr.yaml", tmp_path, lr=1000.0, **options)
    assert "The weights have diverged" in log
    assert "lower learning rate (lr, now 1000)" in log


def test_an_epoch_that_cannot_be_verified_is_kept(
    corpus, tmp_path, monkeypatch
):
    count = itertools.count()

    def fail_once(embeddings, trials):
        if next(count) == 0:
            raise NoDirectionError("Expected finite embeddings, got nan.")
        return cosine_scores(embeddings, trials)

    monkeypatch.setattr(verification, "cosine_scores", fail_once)
    options = {"data_folder": corpus, **TINY, "verify_interval": 1}
    log = run("simclr.yaml", tmp_path, **options)
    assert "Epoch 1 is not verified. Expected finite embeddings, got n" in log
    rows = history(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert ["eer" in row for row in rows] == [False, True]


def test_utterances_that_are_all_the_same_are_named(corpus, tmp_path):
    files = sorted((corpus / "wav").rglob("*.wav"))
    for file in files:
        copy = tmp_path / "same" / file.relative_to(corpus)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[0], copy)
    options = {"data_folder": tmp_path / "same", **TINY, "num_epochs": 1}
    log = run("simclr.yaml", tmp_path / "run", crop_seconds=0.6, **options)
    assert "utterances that are all the same audio" in log
