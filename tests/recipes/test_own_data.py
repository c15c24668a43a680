"""Claims about training on a corpus of one's own."""

import csv
import json
import pathlib
import shutil

import pytest

from tests.recipes.corpora import write_corpus
from tests.recipes.running import history, recipe, run


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


def test_what_spoils_a_run_is_warned_of(corpus, tmp_path):
    log = run(
        "simclr_ssps.yaml",
        tmp_path / "out",
        data_folder=corpus,
        train_manifest=tmp_path / "slip.csv",
        crop_seconds=2.0,
        num_epochs=3,
        ssps_start_epoch=2,
        num_clusters=32,
        num_neighbors=0,
        queue_size=8,
        verify_interval=9,
    )
    assert f"There is no train_manifest {tmp_path / 'slip.csv'}" in log
    assert "36 of 36 utterances are shorter than a view of 2 s" in log
    assert "others kept their own positives: raise queue_size" in log


def test_ssps_in_the_first_epoch_is_refused(corpus, tmp_path):
    options = {"data_folder": corpus, "ssps_start_epoch": 1}
    with pytest.raises(ValueError, match="ssps_start_epoch of at least 2"):
        run("simclr_ssps.yaml", tmp_path, **options)
