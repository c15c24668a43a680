"""Claims about what the Brain passes to whom, seen by spies in a run."""

import copy
import math
import pathlib

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.dataio.views import oracle
from ssps_plugin.frameworks import DINO
from ssps_plugin.losses import (
    DINOCentering,
    DINOLoss,
    FeatureQueue,
    MoCoLoss,
    NegativeQueue,
    SwAVLoss,
)
from ssps_plugin.reference import reference_representation
from ssps_plugin.training.brain import SSLBrain
from ssps_plugin.training.optimisation import WarmupCosine
from ssps_plugin.training.snapshots import Snapshots
from tests.recipes.running import (
    final_model,
    history,
    newest_checkpoint,
    run,
)
from tests.recipes.test_frameworks import FRAMEWORKS

# Loss, which of its operands are the positives, and what is fed after it.
FED = {
    "dino": (DINOLoss, DINOCentering),
    "moco": (MoCoLoss, NegativeQueue),
    "swav": (SwAVLoss, FeatureQueue),
}


def small(name, corpus, **options):
    return {
        "data_folder": corpus,
        "num_epochs": 2,
        "verify_interval": 9,
        "num_made_trials": 4,
        **FRAMEWORKS[name],
        **options,
    }


@pytest.mark.parametrize("name", FED)
def test_memories_of_the_loss_take_what_it_compared(
    name, corpus, tmp_path, monkeypatch
):
    loss, memory = FED[name]
    compared, own, fed = [], [], []
    forward, update = loss.forward, memory.update
    objectives = SSLBrain.compute_objectives

    def noting_loss(self, anchors, positives, *rest, **operands):
        clusters = operands.get("positive_groups")
        compared.append((positives.detach().clone(), clusters))
        return forward(self, anchors, positives, *rest, **operands)

    def noting_update(self, targets, groups=None):
        fed.append((targets.clone(), groups))
        update(self, targets, groups)

    def noting_own(self, predictions, *rest):
        own.append(self.framework.targets(predictions.positives).detach())
        return objectives(self, predictions, *rest)

    monkeypatch.setattr(loss, "forward", noting_loss)
    monkeypatch.setattr(memory, "update", noting_update)
    monkeypatch.setattr(SSLBrain, "compute_objectives", noting_own)
    options = small(name, corpus, ssps_start_epoch=2)
    run(f"{name}_ssps.yaml", tmp_path, **options)
    assert len(fed) == len(compared) == 8
    for (targets, groups), (positives, clusters) in zip(
        fed, compared, strict=True
    ):
        assert torch.equal(targets, positives)
        # Clusters of where keys come from, not of their anchors.
        assert (groups is None) == (clusters is None)
        assert groups is None or torch.equal(groups, clusters)
    # Substituted from the second epoch on, the step's own until then.
    same = [
        torch.equal(one, other)
        for (one, _), other in zip(fed, own, strict=True)
    ]
    assert same == [True] * 4 + [False] * 4


def test_every_group_of_the_optimiser_takes_the_schedules_rate_of_the_step(
    corpus, tmp_path, monkeypatch
):
    taken, before_step = [], SSLBrain._before_step

    def noting(brain, *arguments):
        taken.append([float(g["lr"]) for g in brain.optimizer.param_groups])
        before_step(brain, *arguments)

    monkeypatch.setattr(SSLBrain, "_before_step", noting)
    options = small("dino", corpus, lr=0.4, warmup_epochs=1, cosine_epochs=4)
    run("dino.yaml", tmp_path, **options)
    schedule = WarmupCosine(0.4, 1e-5, 1, 4)
    # Four steps an epoch; groups with weight decay and without.
    expected = [[schedule(step / 4)] * 2 for step in range(8)]
    assert taken == [pytest.approx(rates) for rates in expected]


@pytest.mark.parametrize(
    ("in_eval_mode", "precision"), [(False, None), (True, "bf16")]
)
def test_references_are_the_teachers_in_mode_and_precision_asked_for(
    in_eval_mode, precision, corpus, tmp_path, monkeypatch
):
    pairs, forward = [], SSLBrain.compute_forward

    def noting(brain, batch, stage):
        teacher = copy.deepcopy(brain.framework.teacher_model)
        predictions = forward(brain, batch, stage)
        if predictions.reference is not None:
            teacher.train(not in_eval_mode)
            with torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
                by_hand = teacher(batch.reference.data)
            by_hand = F.normalize(by_hand.detach().float(), dim=1)
            pairs.append((predictions.reference, by_hand))
        return predictions

    monkeypatch.setattr(SSLBrain, "compute_forward", noting)
    options = {
        "reference_in_eval_mode": in_eval_mode,
        "reference_precision": precision,
        "ssps_start_epoch": 2,
    }
    run("dino_ssps.yaml", tmp_path, **small("dino", corpus, **options))
    assert len(pairs) == 8
    assert all(torch.equal(found, by_hand) for found, by_hand in pairs)


def noting_references(monkeypatch):
    """Note the epoch of every reference pass."""
    passes = []

    def noting(embed, *inputs, **options):
        passes.append(embed.__self__.epoch_counter.current)
        return reference_representation(embed, *inputs, **options)

    monkeypatch.setattr(
        "ssps_plugin.training.brain.reference_representation", noting
    )
    return passes


def rows_without_references(output):
    """The history but for what it says of the references at an epoch's end."""
    of_references = ("seen", "effective_rank")
    return [
        {key: row[key] for key in row if key not in of_references}
        for row in history(output)
    ]


def test_a_run_without_references_in_its_last_epoch_ends_the_same(
    whole_run, corpus, tmp_path, monkeypatch
):
    passes = noting_references(monkeypatch)
    run(
        "simclr_ssps.yaml",
        tmp_path,
        data_folder=corpus,
        last_reference_epoch=2,  # SSPS starts in epoch 3, the last one
    )
    # The first step of all only checks.
    assert passes == [1, 2, 2, 2, 2]
    found = rows_without_references(tmp_path)
    assert found == rows_without_references(whole_run[0])
    found, expected = final_model(tmp_path), final_model(whole_run[0])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_first_view_may_be_the_reference_without_a_crop_of_its_own(
    corpus, tmp_path, monkeypatch
):
    passes, pairs = noting_references(monkeypatch), []
    forward = SSLBrain.compute_forward

    def noting(brain, batch, stage):
        predictions = forward(brain, batch, stage)
        assert not hasattr(batch, "reference")
        if predictions.reference is not None:
            embedding = brain.framework.first_view_embedding
            pairs.append((predictions.reference, embedding))
        return predictions

    monkeypatch.setattr(SSLBrain, "compute_forward", noting)
    options = {"reference_from": "view", "ssps_start_epoch": 2}
    run("dino_ssps.yaml", tmp_path, **small("dino", corpus, **options))
    assert passes == [] and len(pairs) == 8
    for reference, embedding in pairs:
        assert torch.equal(reference, F.normalize(embedding, dim=1))


def test_what_is_kept_averaged_and_scored_at_the_end_is_the_teacher(
    corpus, tmp_path, monkeypatch
):
    scored, verify = [], SSLBrain._verify

    def noting(brain, *arguments):
        model = brain.framework.embed.__self__.exported_model
        scored.append(model.encoder.fc.conv.weight.detach().clone())
        return verify(brain, *arguments)

    monkeypatch.setattr(SSLBrain, "_verify", noting)
    run("dino.yaml", tmp_path, **small("dino", corpus, averaged_epochs=2))
    state = torch.load(newest_checkpoint(tmp_path) / "framework.ckpt")
    kept = [
        torch.load(path)["encoder.fc.conv.weight"]
        for path in sorted((tmp_path / "snapshots").glob("epoch_*"))
    ]
    teacher = state["teacher_model.encoder.fc.conv.weight"]
    assert torch.equal(kept[-1], teacher)
    assert not torch.equal(kept[0], kept[1])
    torch.testing.assert_close(scored[-1], (kept[0] + kept[1]) / 2)


def test_the_epoch_before_ssps_and_the_best_one_stay_beside_the_last(
    corpus, tmp_path
):
    options = {"data_folder": corpus, "averaged_epochs": 2, "num_epochs": 5}
    run("simclr_ssps.yaml", tmp_path, **options)  # starts in epoch 3
    rows = [row for row in history(tmp_path) if "eer" in row]
    best = min(rows, key=lambda row: row["eer"])["epoch"]
    snapshots = Snapshots(tmp_path / "snapshots", 2)
    assert snapshots.epochs() == sorted({2, 4, 5, best})


def test_speechbrains_own_clipping_leaves_large_gradients_alone(
    corpus, tmp_path, monkeypatch
):
    limits, clip = [], torch.nn.utils.clip_grad_norm_

    def noting(parameters, max_norm, *rest, **options):
        limits.append(float(max_norm))
        return clip(parameters, max_norm, *rest, **options)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noting)
    run("dino.yaml", tmp_path, **small("dino", corpus))
    assert limits == [math.inf] * 8


@pytest.mark.parametrize("name", ["simclr", "dino"])
def test_true_positives_are_other_utterances_of_the_speaker(
    name, corpus, tmp_path, monkeypatch
):
    read, cut = [], oracle.cut_crops

    def noting(file, *arguments):
        read.append(file)
        return cut(file, *arguments)

    monkeypatch.setattr(oracle, "cut_crops", noting)
    run(
        f"{name}.yaml",
        tmp_path,
        true_positives=True,
        data_folder=corpus,
        num_epochs=1,
        num_made_trials=4,
        **FRAMEWORKS.get(name, {}),
    )
    num_files = {"simclr": 2, "dino": 3}[name]
    assert len(read) >= 32 * num_files
    for place in range(0, len(read), num_files):
        own, *others = (
            pathlib.Path(file).parts[-3:] for file in read[place:][:num_files]
        )
        for other in others:
            assert other[0] == own[0] and other[1] != own[1]


def test_centroids_with_a_head_are_refused_before_training(corpus, tmp_path):
    # Equal dimensions: only the framework knows of the head.
    options = {**small("vicreg", corpus), "projection_dim": 8}
    strategy = "CentroidSampling {num_clusters: 6, num_neighbors: 1}"
    with pytest.raises(ValueError, match="there is a head between them"):
        run(
            "vicreg_ssps.yaml",
            tmp_path,
            sampler=f"{{strategy: !new:ssps_plugin.{strategy}}}",
            **options,
        )


def test_a_step_that_is_left_out_moves_no_teacher(
    corpus, tmp_path, monkeypatch
):
    calls, moved, forward = [], [], DINOLoss.forward

    def spoiled(self, *arguments, **operands):
        loss = forward(self, *arguments, **operands)
        calls.append(loss)
        return loss * math.nan if len(calls) == 2 else loss

    monkeypatch.setattr(DINOLoss, "forward", spoiled)
    monkeypatch.setattr(
        DINO, "update", lambda self, progress: moved.append(3 * progress)
    )
    run("dino.yaml", tmp_path, **small("dino", corpus, num_epochs=1))
    # Of steps at 0, 1/4, 1/2 and 3/4 of an epoch.
    assert moved == pytest.approx([0.0, 0.5, 0.75])
