"""Claims about trials and scores, in training and by verify.py."""

import csv
import hashlib
import json
import pathlib
import shutil

import pytest

from ssps_plugin.dataio.audio import AudioError
from ssps_plugin.training import SSLBrain
from tests.recipes.corpora import write_corpus
from tests.recipes.running import history, recipe, run


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


def test_a_file_of_the_second_list_that_goes_meanwhile_costs_that_list_alone(
    whole_run, corpus, tmp_path, monkeypatch
):
    audio = tmp_path / "x.wav"
    some = sorted(corpus.rglob("*.wav"))[0]
    shutil.copy(some, audio)
    name = some.relative_to(corpus)
    second = tmp_path / "second.txt"
    second.write_text(f"1 {name} {audio}\n0 {audio} {name}\n")
    start = SSLBrain.on_fit_start

    def lose(brain):
        audio.unlink()
        start(brain)

    options = {
        "data_folder": corpus,
        "trials": json.dumps([str(whole_run[0] / "trials.txt"), str(second)]),
        "num_epochs": 1,
    }
    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(SSLBrain, "on_fit_start", lose)
        log = run("simclr.yaml", output, **options)
    assert "second.txt is not scored. Cannot read audio" in log
    assert "Replace it: the same command" in log
    assert (output / "results.json").is_file()
    assert not (output / "verify" / "second").exists()
    shutil.copy(some, audio)
    run("simclr.yaml", output, **options)
    assert (output / "verify" / "second" / "results.json").is_file()


def test_a_file_of_the_first_list_that_goes_meanwhile_ends_with_what_to_do(
    corpus, tmp_path, monkeypatch
):
    audio = tmp_path / "x.wav"
    some = sorted(corpus.rglob("*.wav"))[0]
    shutil.copy(some, audio)
    name, trials = some.relative_to(corpus), tmp_path / "first.txt"
    trials.write_text(f"1 {name} {audio}\n0 {audio} {name}\n")
    start = SSLBrain.on_fit_start

    def lose(brain):
        audio.unlink()
        start(brain)

    options = {"data_folder": corpus, "trials": trials, "num_epochs": 1}
    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(SSLBrain, "on_fit_start", lose)
        with pytest.raises(AudioError, match="Replace it: the same command"):
            run("simclr.yaml", output, **options)
    assert "Epoch 1 is not verified" in (output / "log.txt").read_text()
    shutil.copy(some, audio)
    run("simclr.yaml", output, **options)
    assert (output / "results.json").is_file()


def test_trials_without_both_labels_are_scored_and_end_no_run(
    whole_run, corpus, tmp_path
):
    lines = (whole_run[0] / "trials.txt").read_text().splitlines()
    lists = {
        "targets": [line for line in lines if line.startswith("1 ")],
        "blind": [line.split(" ", 1)[1] for line in lines],
        "rated": lines,
    }
    for name, chosen in lists.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(chosen))
    output = tmp_path / "out"
    log = run(
        "simclr.yaml",
        output,
        data_folder=corpus,
        trials=json.dumps([str(tmp_path / f"{name}.txt") for name in lists]),
        num_epochs=1,
    )
    assert "targets.txt, since all of its 20 trials are target trials" in log
    assert "blind.txt, since its 40 trials have no labels" in log
    folders = [output, output / "verify/blind", output / "verify/rated"]
    found = [
        json.loads((folder / "results.json").read_text()) for folder in folders
    ]
    assert [one["num_trials"] for one in found] == [20, 40, 40]
    assert [one["num_impostor_trials"] for one in found] == [0, None, 20]
    assert [one["eer_percent"] for one in found[:2]] == [None, None]
    # Epochs are verified by the first list that has error rates.
    assert history(output)[0]["eer"] == found[2]["eer_percent"]
    scores = [(folder / "scores.txt").read_text() for folder in folders]
    assert scores[1] == scores[2]
    assert set(scores[0].splitlines()) <= set(scores[2].splitlines())


def test_without_any_error_rates_training_ends_well(corpus, tmp_path):
    trials = tmp_path / "blind.txt"
    trials.write_text("id000/rec0/00000.wav id001/rec0/00000.wav\n")
    output = tmp_path / "out"
    run(
        "simclr_ssps.yaml",
        output,
        data_folder=corpus,
        trials=trials,
        num_resamples=10,
        false_acceptance_rate=0.1,
    )
    assert [set(row) & {"eer"} for row in history(output)] == [set()] * 3
    results = json.loads((output / "results.json").read_text())
    assert results["eer_percent"] is None and results["num_trials"] == 1
    recipe("verify").main([str(output / "hyperparams.yaml")])
    again = output / "verify" / "blind" / "scores.txt"
    assert again.read_text() == (output / "scores.txt").read_text()


def test_another_list_of_a_name_leaves_the_results_of_the_first(
    whole_run, corpus, tmp_path
):
    output, _ = whole_run
    lines = (output / "trials.txt").read_text().splitlines()
    saved = str(output / "hyperparams.yaml")
    for folder, number in (("a", 20), ("b", 12), ("a", 20)):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "same.txt"
        path.write_text("\n".join(lines[:number]) + "\n")
        recipe("verify").main([saved, "--trials", str(path)])
    found = {}
    for path in (output / "verify").glob("same*/results.json"):
        results = json.loads(path.read_text())
        found[path.parent.name] = results["num_trials"]
    digest = hashlib.sha256((tmp_path / "b/same.txt").read_bytes()).hexdigest()
    assert found == {"same": 20, f"same-{digest[:8]}": 12}


def test_speakers_folders_with_blanks_are_held_out_and_scored(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    for path in list(corpus.glob("wav/*")):
        path.rename(path.with_name(path.name.replace("id", "Anna Maria ")))
    output = tmp_path / "out"
    run("simclr.yaml", output, data_folder=corpus, num_epochs=1)
    lines = (output / "trials.txt").read_text().splitlines()
    assert len(lines) == 40 and all("\t" in line for line in lines)
    assert "eer" in history(output)[0]
    scores = (output / "scores.txt").read_text().splitlines()
    pairs = [line.split("\t")[1:] for line in scores]
    assert pairs == [line.split("\t")[1:] for line in lines]
    with open(output / "train.csv", newline="") as file:
        trained = {row["speaker"] for row in csv.DictReader(file)}
    tested = {name.split("/")[1] for pair in pairs for name in pair}
    assert len(trained) == 6 and len(tested) == 2 and not trained & tested


def test_a_history_that_is_gone_or_damaged_is_told_on_a_resume(
    corpus, tmp_path
):
    output = tmp_path / "out"
    options = {"data_folder": corpus}
    run("simclr.yaml", output, num_epochs=1, **options)
    (output / "history.json").write_text('[{"epoch": 1')
    with pytest.raises(ValueError, match=r"history\.json, got .* Move it away"):
        run("simclr.yaml", output, num_epochs=2, **options)
    (output / "history.json").unlink()
    log = run("simclr.yaml", output, num_epochs=2, **options)
    assert "has no metrics of 1 of the 1 epochs that this run has done" in log
    assert [row["epoch"] for row in history(output)] == [2]


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


def test_verify_warns_of_speakers_that_were_trained_on(
    whole_run, corpus, tmp_path, caplog
):
    saved = str(whole_run[0] / "hyperparams.yaml")
    with open(whole_run[0] / "train.csv", newline="") as file:
        ids = sorted(row["ID"] for row in csv.DictReader(file))
    one, other, far = ids[0], ids[1], ids[-1]
    trials = tmp_path / "trained.txt"
    trials.write_text(f"1 {one} {other}\n0 {one} {far}\n")
    options = ["--trials", str(trials), "--trials_folder", str(corpus)]
    recipe("verify").main([saved, *options])
    assert "speakers of the trials are in the training manifest" in caplog.text
    assert "2 of them (" in caplog.text
