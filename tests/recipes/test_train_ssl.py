"""Claims about the recipe, run to its end on tiny corpora."""

import csv
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
import torch

from tests.recipes.corpora import write_corpus

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "voxceleb"
SMALL = {
    "crop_seconds": 0.3,
    "reference_seconds": 0.4,
    "embedding_dim": 8,
    "encoder_channels": "[8, 8, 8, 8, 24]",
    "attention_channels": 8,
    "global_batch_size": 8,
    "num_epochs": 3,
    "ssps_start_epoch": 3,
    "num_clusters": 6,
    "queue_size": 24,
    "num_held_out_speakers": 2,
    "num_made_trials": 40,
}


def recipe(name):
    """Import a recipe as Python would run it: its folder on the path."""
    if str(RECIPES) not in sys.path:
        sys.path.insert(0, str(RECIPES))
    return importlib.import_module(name)


def run(hparams, output, *flags, **options):
    """Run the recipe in this process; returns its log."""
    given = {
        **SMALL,
        "overlay": "hparams/minivox.yaml",
        "output_folder": output,
        **options,
    }
    if "ssps" not in hparams:
        for key in ("ssps_start_epoch", "num_clusters", "queue_size"):
            given.pop(key)
    argv = [str(ROOT / "hparams" / hparams)]
    for key, value in given.items():
        if value is not None:  # None: a key that this YAML does not have
            argv += [f"--{key}", str(value)]
    recipe("train_ssl").main([*argv, "--noprogressbar", *flags])
    return (output / "log.txt").read_text()


def history(output):
    return json.loads((output / "history.json").read_text())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    return output, run("simclr_ssps.yaml", output, data_folder=corpus)


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
    for figure in (
        "loss",
        "learning_rate",
        "coverage",
        "queue_fill",
        "speaker_accuracy",
        "recording_accuracy",
        "speaker_nmi",
        "eer",
    ):
        assert f"{figure}: " in text


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


def newest_checkpoint(output):
    checkpoints = (output / "save").glob("CKPT*")
    return max(checkpoints, key=lambda path: path.stat().st_mtime_ns)


def final_model(output):
    path = newest_checkpoint(output) / "framework.ckpt"
    return torch.load(path, weights_only=True)


def assert_same_run(one, other):
    # A resume reports the same figures, whatever it cost to get there.
    assert history(one) == history(other)
    left, right = final_model(one), final_model(other)
    assert all(torch.equal(left[name], right[name]) for name in left)


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


def test_a_plain_run_is_not_gone_on_with_as_the_upper_bound(
    whole_run, corpus, tmp_path
):
    results = json.loads((whole_run[0] / "results.json").read_text())
    assert results["true_positives"] is False
    output = shutil.copytree(whole_run[0], tmp_path / "out")
    with pytest.raises(ValueError, match="go on with true_positives False"):
        run("simclr.yaml", output, data_folder=corpus, true_positives=True)


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


def test_a_compiled_encoder_trains_to_the_same_figures(
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


def test_verify_scores_the_same_trials_alike_and_another_list(
    whole_run, corpus, tmp_path
):
    output, _ = whole_run
    saved = str(output / "hyperparams.yaml")
    recipe("verify").main([saved])
    again = json.loads((output / "verify/trials/results.json").read_text())
    first = json.loads((output / "results.json").read_text())
    assert again["eer_percent"] == first["eer_percent"]
    other = tmp_path / "other.txt"
    lines = (output / "trials.txt").read_text().splitlines()
    other.write_text("\n".join(lines[:20]) + "\n")
    recipe("verify").main(
        [saved, "--trials", str(other), "--trials_folder", str(corpus)]
    )
    results = json.loads((output / "verify/other/results.json").read_text())
    assert results["num_trials"] == 20


def test_verify_takes_several_lists_a_cohort_and_gives_intervals(
    whole_run, corpus, tmp_path
):
    output, _ = whole_run
    lines = (output / "trials.txt").read_text().splitlines()
    lists = {"all": lines, "some": lines[::-2]}
    paths = []
    for name, chosen in lists.items():
        paths.append(str(tmp_path / f"{name}.txt"))
        (tmp_path / f"{name}.txt").write_text("\n".join(chosen) + "\n")
    saved = str(output / "hyperparams.yaml")
    options = {
        "trials": json.dumps(paths),
        "trials_folder": corpus,
        "cohort_size": 12,
        "cohort_top_n": 5,
        "num_resamples": 50,
        "false_acceptance_rate": 0.2,
    }
    argv = [f"--{key}={value}" for key, value in options.items()]
    recipe("verify").main([saved, *argv])
    plain = json.loads((output / "results.json").read_text())
    scores = {}
    for name, chosen in lists.items():
        folder = output / "verify" / name
        results = json.loads((folder / "results.json").read_text())
        assert results["num_trials"] == len(chosen)
        assert results["cohort_size"] == 12
        low, high = results["eer_percent_interval"]
        assert low <= results["eer_percent"] <= high
        assert results["threshold"] != plain["threshold"]  # of other scores
        rows = (folder / "scores.txt").read_text().splitlines()
        scores[name] = {row.split(" ", 1)[1]: row for row in rows}
    assert scores["some"].items() <= scores["all"].items()


def test_verify_needs_neither_the_folder_training_was_in_nor_its_noise(
    corpus, tmp_path, monkeypatch
):
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(there)
    output = pathlib.Path("out")
    noise = shutil.copytree(corpus / "wav" / "id000", tmp_path / "noise")
    options = {"data_folder": corpus, "noise_folder": noise}
    run("simclr.yaml", output, num_epochs=1, **options)
    shutil.rmtree(noise)
    monkeypatch.chdir(elsewhere)
    saved = str(there / output / "hyperparams.yaml")
    options = ["--cohort_size", "12", "--cohort_top_n", "5"]
    recipe("verify").main([saved, *options])
    results = there / output / "verify" / "trials" / "results.json"
    assert json.loads(results.read_text())["cohort_size"] == 12
    assert not list(elsewhere.iterdir())


def test_training_scores_every_list_as_verify_does(whole_run, corpus, tmp_path):
    lines = (whole_run[0] / "trials.txt").read_text().splitlines()
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    paths[0].write_text("\n".join(lines) + "\n")
    paths[1].write_text("\n".join(lines[::-2]) + "\n")
    output = tmp_path / "out"
    run(
        "simclr.yaml",
        output,
        data_folder=corpus,
        trials=json.dumps(list(map(str, paths))),
        num_epochs=1,
    )
    trained = {
        "first": output / "scores.txt",
        "second": output / "verify" / "second" / "scores.txt",
    }
    trained = {name: path.read_text() for name, path in trained.items()}
    assert not (output / "verify" / "first").exists()
    results = json.loads((output / "results.json").read_text())
    assert results["trial_list"] == str(paths[0])
    recipe("verify").main([str(output / "hyperparams.yaml")])
    for name, scores in trained.items():
        again = output / "verify" / name / "scores.txt"
        assert again.read_text() == scores


def test_two_lists_of_one_name_are_refused_before_any_work(
    whole_run, corpus, tmp_path
):
    trials = whole_run[0] / "trials.txt"
    other = shutil.copy(trials, tmp_path)
    with pytest.raises(ValueError, match=f"{trials} and {other}"):
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            trials=json.dumps([str(trials), str(other)]),
        )
    assert not (tmp_path / "out" / "train.csv").exists()


def test_a_file_missing_of_the_second_list_ends_the_run_at_its_start(
    whole_run, corpus, tmp_path
):
    lines = "1 id000/r/a.wav id000/r/b.wav\n0 id000/r/a.wav id001/r/b.wav\n"
    (tmp_path / "gone.txt").write_text(lines)
    lists = [str(whole_run[0] / "trials.txt"), str(tmp_path / "gone.txt")]
    with pytest.raises(FileNotFoundError, match="trials_folder"):
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            trials=json.dumps(lists),
        )
    assert not (tmp_path / "out" / "train.csv").exists()


def test_trials_of_one_label_end_the_run_before_the_corpus_is_read(
    whole_run, corpus, tmp_path
):
    lines = (whole_run[0] / "trials.txt").read_text().splitlines()
    targets = [line for line in lines if line.startswith("1 ")]
    (tmp_path / "targets.txt").write_text("\n".join(targets))
    with pytest.raises(ValueError, match="got 20 and 0 in"):
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            trials=tmp_path / "targets.txt",
        )
    assert not (tmp_path / "out" / "train.csv").exists()


def test_a_cohort_that_cannot_be_drawn_ends_the_run_before_it_trains(
    corpus, tmp_path
):
    with pytest.raises(ValueError, match="cohort_top_n"):
        run(
            "simclr.yaml",
            tmp_path / "out",
            data_folder=corpus,
            cohort_size=4,
            cohort_top_n=5,
        )
    assert not (tmp_path / "out" / "history.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_folder": "nowhere"}, "data_folder"),
        ({"global_batch_size": 512}, "global_batch_size"),
        ({"num_clusters": 512}, "num_clusters"),
        ({"queue_size": 4, "ssps_start_epoch": 9}, "queue_size"),
        ({"num_cluster": 3}, "did you mean --num_clusters"),
        ({"trials": "gone.txt"}, "gone.txt"),
        ({"data_folder": None, "train_manifest": "gone.csv"}, "gone.csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_get_an_answer(corpus, tmp_path, options, message):
    given = {"data_folder": corpus, **options}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run("simclr_ssps.yaml", tmp_path / "out", **given)
    assert not (tmp_path / "out" / "results.json").exists()


def test_checkpoint_of_another_manifest_is_refused(corpus, tmp_path):
    other = write_corpus(tmp_path / "other", num_utterances=3)
    output = tmp_path / "out"
    run(
        "simclr_ssps.yaml",
        output,
        data_folder=corpus,
        num_epochs=2,
    )
    with pytest.raises(RuntimeError, match="another training manifest"):
        run("simclr_ssps.yaml", output, data_folder=other)


def test_manifest_of_ones_own_in_any_layout_is_trained_on_as_it_is(
    corpus, tmp_path
):
    flat = tmp_path / "flat"
    flat.mkdir()
    rows = ["ID,duration,wav"]
    for number, path in enumerate(sorted(corpus.glob("wav/*/*/*.wav"))):
        shutil.copy(path, flat / f"{number} of mine.wav")
        rows.append(f"u{number},0.6,$data_root/{number} of mine.wav")
    manifest = tmp_path / "mine.csv"
    manifest.write_text("\n".join(rows) + "\n")
    log = run(
        "simclr_ssps.yaml",
        tmp_path / "out",
        data_folder=flat,
        train_manifest=manifest,
        num_epochs=1,
    )
    assert "MiniVox" not in log
    assert "No trials, so no error rates" in log
    assert "SSPS never starts" in log
    assert "eer" not in history(tmp_path / "out")[0]


def test_two_data_folders_are_trained_on_as_one(corpus, tmp_path):
    names = sorted(path.name for path in (corpus / "wav").iterdir())
    for number, name in enumerate(names):
        root = tmp_path / ("one", "two")[number % 2] / "wav"
        shutil.copytree(corpus / "wav" / name, root / name)
    output = tmp_path / "out"
    roots = f"[{tmp_path / 'one'}, {tmp_path / 'two'}]"
    run("simclr.yaml", output, data_folder=roots, num_epochs=1)
    assert "eer" in history(output)[0]
    with open(output / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert {row["wav"].split("/")[1] for row in rows} == {"one", "two"}
    saved = str(output / "hyperparams.yaml")
    folder = recipe("verify").parse_configuration([saved])["data_folder"]
    assert folder == str(output / "data")
    results = json.loads((output / "results.json").read_text())
    recipe("verify").main([saved])
    again = json.loads((output / "verify/trials/results.json").read_text())
    assert again["eer_percent"] == results["eer_percent"]


def test_trials_in_one_of_two_folders_of_any_layout_are_not_trained_on(
    corpus, tmp_path
):
    for number, path in enumerate(sorted(corpus.glob("wav/*/*/*.wav"))):
        root = tmp_path / ("calls" if number < 40 else "test")
        root.mkdir(exist_ok=True)
        shutil.copy(path, root / f"{number}.wav")
    trials = tmp_path / "trials.txt"
    trials.write_text("1 40.wav 41.wav\n0 40.wav 47.wav\n")
    options = {
        "data_folder": f"[{tmp_path / 'calls'}, {tmp_path / 'test'}]",
        "folder_layout": "any",
        "trials": trials,
        "trials_folder": tmp_path / "test",
    }
    run("simclr.yaml", tmp_path / "out", num_epochs=1, **options)
    with open(tmp_path / "out" / "train.csv", newline="") as file:
        ids = {row["ID"] for row in csv.DictReader(file)}
    assert len(ids) == 45
    assert not ids & {"test/40", "test/41", "test/47"}


def test_a_manifest_of_ones_own_with_speakers_of_the_trials_is_refused(
    whole_run, corpus, tmp_path
):
    output, _ = whole_run
    manifest, trials = tmp_path / "mine.csv", output / "trials.txt"
    shutil.copy(output / "train.csv", manifest)
    options = {"data_folder": corpus, "train_manifest": manifest}
    log = run(
        "simclr.yaml", tmp_path / "out", trials=trials, num_epochs=1, **options
    )
    assert "see to it" not in log
    tried = pathlib.PurePath(trials.read_text().split()[1]).parts[-3]
    with open(manifest, "a") as file:
        file.write(f"x,0.6,$data_root/x.wav,rec0,{tried}\n")
    message = rf"got 1 of them \({tried}; 1 utterances\) in .*mine\.csv"
    with pytest.raises(ValueError, match=message):
        run("simclr.yaml", tmp_path / "refused", trials=trials, **options)


def test_verify_warns_of_speakers_that_were_trained_on(
    whole_run, corpus, tmp_path, caplog, monkeypatch
):
    saved = str(whole_run[0] / "hyperparams.yaml")
    with open(whole_run[0] / "train.csv", newline="") as file:
        ids = sorted(row["ID"] for row in csv.DictReader(file))
    one, other, far = ids[0], ids[1], ids[-1]
    trials = tmp_path / "trained.txt"
    trials.write_text(f"1 {one} {other}\n0 {one} {far}\n")
    options = ["--trials", str(trials), "--trials_folder", str(corpus)]
    # It would take the handlers away that note.
    monkeypatch.setattr(recipe("verify"), "setup_logging", lambda: None)
    recipe("verify").main([saved, *options])
    assert "speakers of the trials are in the training manifest" in caplog.text
    assert "2 of them (" in caplog.text


def test_folders_that_say_nothing_are_trained_on_but_for_the_trials(
    corpus, tmp_path
):
    folder = tmp_path / "calls"
    (folder / "old" / "test").mkdir(parents=True)
    for number, path in enumerate(sorted(corpus.glob("wav/*/*/*.wav"))):
        place = "old/test" if number < 4 else ("", "old")[number % 2]
        shutil.copy(path, folder / place / f"{number}.wav")
    pairs = [(1, 0, 1), (0, 0, 3), (1, 1, 2), (0, 2, 3)]
    lines = [f"{y} old/test/{a}.wav old/test/{b}.wav" for y, a, b in pairs]
    (folder / "trials.txt").write_text("\n".join(lines) + "\n")
    output = tmp_path / "out"
    options = {"data_folder": folder, "folder_layout": "any", "num_epochs": 1}
    run("simclr.yaml", output, **options)
    assert "eer" in history(output)[0]
    with open(output / "train.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ID", "duration", "wav"]
    assert len(rows) == 44
    assert not [row for row in rows if "test" in row["ID"]]


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
    deadline = time.monotonic() + 300
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


def test_empty_truncated_and_other_audio_does_not_stop_training(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    broken = corpus / "wav" / "id003" / "rec0"
    (broken / "empty.wav").write_bytes(b"")
    whole = (broken / "00000.wav").read_bytes()
    (broken / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (broken / "garbage.flac").write_bytes(b"not audio")
    log = run(
        "simclr_ssps.yaml",
        tmp_path / "out",
        data_folder=corpus,
        num_epochs=1,
        num_held_out_speakers=0,
    )
    assert "3" in log and "skipped" in log.lower()
    with open(tmp_path / "out" / "train.csv.skipped.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.slow
def test_main_job_without_a_corpus_makes_one_and_ssps_lowers_its_eer(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    main = recipe("train_ssl").main
    main([str(ROOT / "hparams" / "simclr_ssps.yaml"), "--noprogressbar"])
    output = tmp_path / "results" / "simclr_ssps" / "1986"
    log = (output / "log.txt").read_text()
    assert "No data_folder was given: training on MiniVox" in log
    assert "--data_folder VOXCELEB2" in log
    rows = history(output)
    at_start = next(row for row in rows if row["epoch"] == 5)
    assert rows[-1]["eer"] < 0.75 * at_start["eer"]
    assert rows[-1]["speaker_accuracy"] > rows[5]["speaker_accuracy"]
