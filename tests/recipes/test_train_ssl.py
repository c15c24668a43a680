"""Claims about the recipe, run to its end on tiny corpora."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
import torch

from ssps_plugin import NTXentLoss
from tests.recipes.running import (
    RECIPES,
    ROOT,
    SMALL,
    assert_same_run,
    final_model,
    history,
    newest_checkpoint,
    recipe,
    run,
)


def test_main_job_leaves_results_curves_and_the_configuration(whole_run):
    output, log = whole_run
    results = json.loads((output / "results.json").read_text())
    assert 0 <= results["eer_percent"] <= 100
    assert results["epochs"] == 3 and results["num_trials"] > 0
    assert results["averaged_epochs"] == 3
    assert results["coverage"] == history(output)[-1]["coverage"] > 0
    for name in ("curves.png", "scores.txt", "hyperparams.yaml", "log.txt"):
        assert (output / name).stat().st_size > 0
    assert "num_clusters: 6" in (output / "hyperparams.yaml").read_text()
    assert "SSPS was switched on after epoch 2" in log


def test_train_log_shows_what_sampling_did(whole_run):
    output, _ = whole_run
    text = (output / "train_log.txt").read_text().splitlines()[-1]
    for metric in (
        "loss",
        "learning_rate",
        "coverage",
        "queue_fill",
        "speaker_accuracy",
        "recording_accuracy",
        "gauge",
        "speaker_nmi",
        "verification EER",
    ):
        assert f"{metric}: " in text


def test_held_out_speakers_are_never_trained_on(whole_run):
    output, _ = whole_run
    with open(output / "train.csv", newline="") as file:
        trained = {row["speaker"] for row in csv.DictReader(file)}
    trials = (output / "trials.txt").read_text().split()
    tried = {pathlib.PurePath(p).parts[-3] for p in trials if "/" in p}
    assert tried and not tried & trained


def test_training_reads_no_speaker_label(whole_run, corpus, tmp_path):
    labelled, _ = whole_run
    manifest = tmp_path / "unlabelled.csv"
    with open(labelled / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(manifest, "w", newline="") as file:
        writer = csv.DictWriter(file, ["ID", "duration", "wav"])
        writer.writeheader()
        writer.writerows(
            {key: row[key] for key in writer.fieldnames} for row in rows
        )
    run(
        "simclr_ssps.yaml",
        tmp_path / "out",
        data_folder=corpus,
        train_manifest=manifest,
        trials=labelled / "trials.txt",
    )
    with_labels, without = history(labelled), history(tmp_path / "out")
    assert "speaker_accuracy" not in without[-1]
    for one, other in zip(with_labels, without, strict=True):
        assert (one["loss"], one["eer"]) == (other["loss"], other["eer"])


@pytest.mark.parametrize("epoch", [1, 2])
def test_stop_after_an_epoch_changes_nothing(
    whole_run, corpus, tmp_path, epoch
):
    output = tmp_path / "stopped"
    run(
        "simclr_ssps.yaml",
        output,
        data_folder=corpus,
        num_epochs=epoch,
    )
    run("simclr_ssps.yaml", output, data_folder=corpus)
    assert_same_run(whole_run[0], output)


def test_stop_inside_the_ssps_epoch_changes_nothing(
    whole_run, corpus, tmp_path
):
    output = tmp_path / "stopped"
    options = {"data_folder": corpus, "ckpt_interval_steps": 3}
    run("simclr_ssps.yaml", output, num_checkpoints=9, **options)
    # 36 utterances in batches of 8 are 4 steps an epoch. Left is what a
    # process killed in the last step of the last epoch leaves.
    last = newest_checkpoint(output)
    assert "end-of-epoch: true" in (last / "CKPT.yaml").read_text()
    shutil.rmtree(last)
    killed_in = newest_checkpoint(output)
    assert "end-of-epoch: false" in (killed_in / "CKPT.yaml").read_text()
    assert (killed_in / "epoch_counter.ckpt").read_text() == "3"
    run("simclr_ssps.yaml", output, **options)
    assert_same_run(whole_run[0], output)


def test_plain_twin_is_the_same_run_until_ssps_starts(
    whole_run, corpus, tmp_path
):
    run("simclr.yaml", tmp_path / "plain", data_folder=corpus)
    plain, ssps = history(tmp_path / "plain"), history(whole_run[0])
    for epoch in (0, 1):
        assert plain[epoch]["loss"] == ssps[epoch]["loss"]
        assert plain[epoch]["eer"] == ssps[epoch]["eer"]
    assert plain[2]["loss"] != ssps[2]["loss"]


def test_warm_start_takes_up_a_finished_run(corpus, tmp_path):
    plain = tmp_path / "plain"
    run("simclr.yaml", plain, data_folder=corpus, num_epochs=2)
    warm = tmp_path / "warm"
    run(
        "simclr_ssps.yaml",
        warm,
        data_folder=corpus,
        warm_start_from=plain / "save",
    )
    start, first = history(warm)
    assert (start["epoch"], first["epoch"]) == (2, 3)
    # The same encoder as where the plain run ended.
    assert start["eer"] == history(plain)[-1]["eer"]
    assert first["coverage"] > 0 and first["seen"] == 1.0


def test_true_positives_are_marked_and_not_gone_on_with_without_labels(
    corpus, tmp_path
):
    output, options = tmp_path / "oracle", {"data_folder": corpus}
    log = run(
        "simclr.yaml", output, true_positives=True, num_epochs=1, **options
    )
    assert "READS SPEAKER LABELS" in log
    results = (output / "results.json").read_text()
    assert json.loads(results)["true_positives"] is True
    with pytest.raises(ValueError, match="go on with true_positives True"):
        run("simclr.yaml", output, **options)
    # Nor has what was refused taken the run's configuration away.
    run("simclr.yaml", output, true_positives=True, num_epochs=1, **options)
    assert (output / "results.json").read_text() == results


def test_true_positives_with_ssps_are_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="from epoch 3 on"):
        run(
            "simclr_ssps.yaml",
            tmp_path / "out",
            data_folder=corpus,
            true_positives=True,
        )
    assert not (tmp_path / "out" / "hyperparams.yaml").exists()


def test_bfloat16_and_tensorboard_run(corpus, tmp_path):
    output = tmp_path / "out"
    run(
        "simclr_ssps.yaml",
        output,
        "--precision=bf16",
        data_folder=corpus,
        use_tensorboard=True,
    )
    assert history(output)[-1]["coverage"] > 0
    assert list((output / "tensorboard").iterdir())


def test_a_compiled_encoder_trains_to_the_same_losses(
    whole_run, corpus, tmp_path
):
    counters = torch._dynamo.utils.counters["stats"]
    counters.clear()
    options = {"data_folder": corpus, "compile_backend": "eager"}
    run("simclr_ssps.yaml", tmp_path / "out", **options)
    torch.compiler.reset()
    assert counters["calls_captured"] > 0
    compiled, eager = history(tmp_path / "out"), history(whole_run[0])
    for one, other in zip(compiled, eager, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_folder": "nowhere"}, "data_folder"),
        ({"global_batch_size": 512}, "global_batch_size"),
        ({"num_clusters": 512}, "num_clusters"),
        # Of 36 utterances, an epoch shows four batches of 8.
        ({"num_clusters": 34}, "that an epoch shows, got 32: lower num_clus"),
        ({"queue_size": 4, "ssps_start_epoch": 9}, "queue_size"),
        ({"num_cluster": 3}, "did you mean --num_clusters"),
        ({"trials": "gone.txt"}, "gone.txt"),
        ({"data_folder": None, "train_manifest": "gone.csv"}, "gone.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_refused_with_the_key_to_change(
    corpus, tmp_path, options, message
):
    given = {"data_folder": corpus, **options}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run("simclr_ssps.yaml", tmp_path / "out", **given)
    assert not (tmp_path / "out" / "results.json").exists()


def test_what_an_epoch_shows_is_not_asked_where_ssps_never_starts(
    corpus, tmp_path
):
    options = {"num_clusters": 34, "ssps_start_epoch": 9, "num_epochs": 1}
    run("simclr_ssps.yaml", tmp_path, data_folder=corpus, **options)
    assert len(history(tmp_path)) == 1


@pytest.mark.parametrize(
    ("hparams", "options", "message"),
    [
        ("simclr_ssps", {"reference_precision": "fp8"}, "reference_precision"),
        ("simclr_ssps", {"reference_from": "x"}, "change reference_from"),
        (
            "simclr_ssps",
            {"reference_seconds": 0.02},
            "change reference_seconds",
        ),
        ("simclr_ssps", {"crop_seconds": 0.02}, "seconds of 'views'"),
        ("simclr_ssps", {"global_batch_size": 1}, "change global_batch_size"),
        ("simclr_ssps", {"queue_size": 4}, "queue_size is 4"),
        (
            "simclr_ssps",
            {"pseudo_positives": "read", "partner_crops": "{views: 2}"},
            "change partner_crops",
        ),
        ("sdpn", {"num_local_crops": 0}, "num_local_crops to at least 1"),
        (
            "sdpn_ssps",
            {"pseudo_positives": "read", "reference_from": "view"},
            "change reference_from to clean",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_does_not_go_together_is_found_before_any_data_are_read(
    corpus, tmp_path, hparams, options, message
):
    given = {"data_folder": corpus, **options}
    if hparams.startswith("sdpn"):
        given = {"crop_seconds": None, **given}
    with pytest.raises(ValueError, match=message):
        run(f"{hparams}.yaml", tmp_path / "out", **given)
    written = {path.name for path in (tmp_path / "out").glob("*")}
    assert written <= {".run.lock", "save"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--compile"], "no --compile, .*compile_backend inductor"),
        (["--jit_module_keys", "framework"], "no --jit_module_keys, "),
        (["--max_grad_norm=-1"], "above 0, got -1.0.*inf clips nothing"),
    ],
)
def test_run_options_that_train_something_else_are_refused(
    corpus, tmp_path, flags, message
):
    with pytest.raises(ValueError, match=message):
        run("moco_ssps.yaml", tmp_path, *flags, data_folder=corpus)


def test_unusual_settings_are_warned_of(corpus, tmp_path):
    options = {"data_folder": corpus, "num_epochs": 2, "verify_interval": 9}
    log = run(
        "moco.yaml",
        tmp_path / "moco",
        negatives_size=16,
        mask_false_negatives=True,
        **options,
    )
    assert "mask_false_negatives does nothing without SSPS" in log
    assert "stands still" not in log  # MoCo's momentum is constant
    tiny = {
        "global_crop_seconds": 0.4,
        "local_crop_seconds": 0.3,
        "crop_seconds": None,
        "num_outputs": 12,
        "schedule_epochs": 1,
    }
    log = run("dino.yaml", tmp_path / "dino", **tiny, **options)
    assert "stands still after epoch 1: num_epochs is 2" in log


def test_a_loss_that_is_not_finite_leaves_its_step_out(
    corpus, tmp_path, monkeypatch
):
    losses = []

    def spoiled(self, anchors, positives, *args, **kwargs):
        loss = forward(self, anchors, positives, *args, **kwargs)
        losses.append(loss)
        return loss * float("nan") if len(losses) in (2, 3) else loss

    forward = NTXentLoss.forward
    monkeypatch.setattr(NTXentLoss, "forward", spoiled)
    options = {"data_folder": corpus, "num_epochs": 1, "verify_interval": 9}
    log = run("simclr.yaml", tmp_path, **options)
    assert log.count("is not finite. Its utterances: ") == 2
    assert log.count("The step is left out") == 2
    assert "loss of step 3 of epoch 1" in log
    model = final_model(tmp_path)
    assert all(value.isfinite().all() for value in model.values())


def test_a_loss_that_is_never_finite_ends_the_run_with_finite_weights(
    corpus, tmp_path
):
    options = {"data_folder": corpus, "num_epochs": 9, "verify_interval": 9}
    with pytest.raises(ValueError, match="lower the learning rate"):
        run("simclr.yaml", tmp_path, lr="1.0e+30", **options)


def test_own_overlay_is_the_only_one_on_minivox(tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("num_epochs: 3\n")
    train_ssl = recipe("train_ssl")
    configuration = train_ssl.parse_configuration(
        [str(ROOT / "hparams/simclr_ssps.yaml"), "--overlay", str(overlay)]
    )
    train_ssl.use_minivox(configuration)
    assert configuration["num_epochs"] == 3
    assert configuration["num_clusters"] == 25000


@pytest.mark.slow
def test_killed_process_goes_on_to_the_same_result(whole_run, corpus, tmp_path):
    output = tmp_path / "killed"
    options = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "data_folder": corpus,
        "output_folder": output,
        "ckpt_interval_steps": 1,
    }
    argv = [
        str(RECIPES / "train_ssl.py"),
        str(ROOT / "hparams/simclr_ssps.yaml"),
    ]
    for key, value in options.items():
        argv += [f"--{key}", str(value)]
    process = subprocess.Popen([sys.executable, *argv], cwd=tmp_path)
    deadline = time.monotonic() + 900
    while not (output / "history.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()  # in epoch 2, perhaps while it saves
    process.wait()
    run("simclr_ssps.yaml", output, data_folder=corpus)
    assert_same_run(whole_run[0], output)


@pytest.mark.slow
def test_command_line_runs_from_another_folder(corpus, tmp_path):
    argv = [str(RECIPES / "train_ssl.py"), str(ROOT / "hparams/simclr.yaml")]
    options = {**SMALL, "data_folder": corpus, "num_epochs": 1}
    for key in ("ssps_start_epoch", "num_clusters", "queue_size"):
        options.pop(key)
    for key, value in options.items():
        argv += [f"--{key}", str(value)]
    overlay = ["--overlay", "hparams/minivox.yaml"]
    subprocess.run([sys.executable, *argv, *overlay], check=True, cwd=tmp_path)
    assert (tmp_path / "results/simclr/1986/results.json").is_file()


@pytest.mark.slow
def test_main_job_without_a_corpus_makes_one_and_ssps_lowers_its_eer(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    main = recipe("train_ssl").main
    # Ten of its fifteen epochs, five of them with SSPS, say as much.
    hparams = str(ROOT / "hparams" / "simclr_ssps.yaml")
    main([hparams, "--num_epochs", "10", "--noprogressbar"])
    output = tmp_path / "results" / "simclr_ssps" / "1986"
    log = (output / "log.txt").read_text()
    assert "No data_folder was given: training on MiniVox" in log
    assert "--data_folder VOXCELEB2" in log
    rows = history(output)
    at_start = next(row for row in rows if row["epoch"] == 5)
    assert rows[-1]["eer"] < 0.75 * at_start["eer"]
    assert rows[-1]["speaker_accuracy"] > rows[5]["speaker_accuracy"]


def test_results_name_the_commit_that_the_run_was_started_at(
    corpus, tmp_path, monkeypatch
):
    commits = iter(["at the start", "at the end"])
    monkeypatch.setattr(
        recipe("train_ssl"), "package_commit", lambda: next(commits)
    )
    run("simclr.yaml", tmp_path, data_folder=corpus, num_epochs=1)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["git_commit"] == "at the start"
