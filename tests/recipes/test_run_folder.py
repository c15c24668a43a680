"""What a run does with its folder, and with a corpus that has changed."""

import os
import shutil

import pytest
import soundfile

from ssps_plugin.training.run_folder import hold_output_folder
from tests.recipes.corpora import write_corpus
from tests.recipes.running import assert_same_run, history, recipe, run

OPTIONS = {"num_epochs": 1, "verify_interval": 9}


def begin(folder):
    """Run one epoch in a folder, and write its corpus there."""
    corpus = write_corpus(folder / "corpus")
    run("simclr_ssps.yaml", folder / "out", data_folder=corpus, **OPTIONS)
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("begun"))


@pytest.fixture
def copied(begun, tmp_path):
    """Copies of them, in another place."""
    shutil.copytree(begun, tmp_path / "begun", symlinks=True)
    return tmp_path / "begun"


def go_on(folder, hparams="simclr_ssps.yaml", **options):
    given = {"data_folder": folder / "corpus", **OPTIONS, "num_epochs": 3}
    return run(hparams, folder / "out", **{**given, **options})


def trained_file(folder):
    line = (folder / "out" / "train.csv").read_text().splitlines()[-1]
    name = line.split(",")[2].removeprefix("$data_root/")
    return folder / "corpus" / name


def files_of(folder):
    """Every file but the logs, and what it holds."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in ("log.txt", "env.log")
        and path.name != ".run.lock"
    }


def test_a_run_goes_on_without_a_file_that_was_lost(copied):
    path = trained_file(copied)
    path.unlink()
    manifest = (copied / "out" / "train.csv").read_bytes()
    log = go_on(copied)
    assert "1 of the 36 files" in log and str(path) in log
    assert [row["epoch"] for row in history(copied / "out")] == [1, 2, 3]
    assert (copied / "out" / "train.csv").read_bytes() == manifest


def test_an_added_file_is_named_and_changes_nothing(copied, tmp_path):
    folder = begin(tmp_path / "run")
    path = trained_file(folder)
    shutil.copy(path, path.with_name("added.wav"))
    log = go_on(folder)
    assert "added.wav" in log and "A new run" in log
    go_on(copied)
    assert_same_run(copied / "out", folder / "out")


def test_another_corpus_by_mistake_changes_nothing_on_disk(copied, tmp_path):
    other = write_corpus(tmp_path / "other", num_utterances=3, seconds=0.5)
    before = files_of(copied / "out")
    with pytest.raises(RuntimeError, match="change data_folder|Change data_"):
        go_on(copied, data_folder=other)
    assert files_of(copied / "out") == before
    with pytest.raises(FileNotFoundError, match="nowhere"):
        go_on(copied, data_folder=tmp_path / "nowhere")
    assert files_of(copied / "out") == before


def test_other_folders_by_mistake_leave_the_links(corpus, tmp_path):
    names = sorted(path.name for path in (corpus / "wav").iterdir())
    for number, name in enumerate(names):
        root = tmp_path / "ABC"[number % 3] / "wav"
        shutil.copytree(corpus / "wav" / name, root / name)
    output = tmp_path / "out"
    right, wrong = (f"[{tmp_path}/A, {tmp_path}/{end}]" for end in "BC")
    run("simclr.yaml", output, data_folder=right, **OPTIONS)
    with pytest.raises(RuntimeError, match="change data_folder"):
        run("simclr.yaml", output, data_folder=wrong, **OPTIONS)
    links = {
        path.name: os.readlink(path) for path in (output / "data").iterdir()
    }
    assert links == {name: str(tmp_path / name) for name in "AB"}
    run(
        "simclr.yaml", output, data_folder=right, **{**OPTIONS, "num_epochs": 2}
    )
    assert len(history(output)) == 2


def test_other_trials_than_a_run_held_out_are_refused(copied, tmp_path):
    path = trained_file(copied)
    name = path.relative_to(copied / "corpus" / "wav")
    trials = tmp_path / "trials.txt"
    trials.write_text(f"1 {name} {name.with_name('00000.wav')}\n")
    before = files_of(copied / "out")
    with pytest.raises(ValueError, match="without the speakers of the trials"):
        go_on(copied, trials=trials)
    assert files_of(copied / "out") == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("hyperparams.yaml", b"", "hyperparams.yaml.damaged"),
        ("hyperparams.yaml", b"\0" * 99, "hyperparams.yaml.damaged"),
        ("hyperparams.yaml", b"seed: 1986\n", "without experiment and true"),
        ("train.csv", b"", "train.csv was damaged"),
        ("train.csv", b"\xff" * 99, "train.csv was damaged"),
        ("train.csv", None, "train.csv is not there: it is made"),
        ("trials.txt", b"", "trials.txt is damaged"),
        ("trials.txt", b"\xff\n", "trials.txt is damaged"),
        ("trials.txt", b"1 a.wav b", "its last line is cut off"),
        ("train.csv.json", b"", ""),
    ],
)
def test_damaged_files_of_a_run_are_made_again(copied, name, content, message):
    path = copied / "out" / name
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    log = go_on(copied, num_epochs=2)
    assert message in log
    if name in ("train.csv", "trials.txt"):
        assert path.read_bytes() == whole
    assert len(history(copied / "out")) == 2
    if name == "hyperparams.yaml":
        assert b"experiment: simclr_ssps" in path.read_bytes()


def test_a_saved_configuration_is_compared_without_running_it(copied, tmp_path):
    path = copied / "out" / "hyperparams.yaml"
    touched = tmp_path / "touched"
    with open(path, "a") as file:
        file.write(f"evil: !applyref:os.mkdir [{touched}]\n")
        file.write("more: !include:nowhere.yaml\n")
    go_on(copied, num_epochs=2)
    assert not touched.exists()


def test_a_second_run_in_a_folder_is_refused(copied):
    before = files_of(copied / "out")
    message = f"got process {os.getpid()} on"
    with (
        hold_output_folder(copied / "out"),
        pytest.raises(RuntimeError, match=message),
    ):
        go_on(copied)
    assert files_of(copied / "out") == before


def test_files_of_ones_own_in_the_output_folder_are_warned_of(corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    log = run("simclr.yaml", tmp_path, data_folder=corpus, **OPTIONS)
    assert "is no run's folder: thesis.txt are in it" in log
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "which is not there: change"),
        ("empty", FileNotFoundError, "a folder with none: change"),
        ("file", ValueError, "one that is none or is damaged"),
    ],
)
def test_a_warm_start_from_nothing_makes_no_folder(
    corpus, tmp_path, kind, error, message
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=rf"{tmp_path / kind}, .*{message}"):
        run(
            "simclr_ssps.yaml",
            tmp_path / "out",
            data_folder=corpus,
            warm_start_from=tmp_path / kind,
        )
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_folder_that_is_a_file_is_refused(corpus, tmp_path):
    (tmp_path / "out").write_text("mine")
    argv = ["hparams/simclr.yaml", "--data_folder", str(corpus)]
    argv += ["--output_folder", str(tmp_path / "out")]
    with pytest.raises(OSError, match="output_folder that can be"):
        recipe("train_ssl").main(argv)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_corpus_at_an_odd_path_is_trained_on_and_verified(tmp_path):
    corpus = write_corpus(tmp_path / "my #2 <seed> (a, b)")
    soundfile.write(corpus / "note.wav", [0.0] * 100, 16000)
    output = tmp_path / "2024 #1"
    run("simclr.yaml", output, data_folder=corpus, **OPTIONS)
    assert len((output / "train.csv").read_text().splitlines()) == 37
    recipe("verify").main([str(output / "hyperparams.yaml")])
    assert (output / "verify" / "trials" / "results.json").is_file()


def test_verifying_what_was_not_trained_makes_no_folder(tmp_path):
    argv = ["hparams/simclr.yaml", f"--output_folder={tmp_path / 'out'}"]
    with pytest.raises(FileNotFoundError, match="Expected a checkpoint in"):
        recipe("verify").main(argv)
    assert not (tmp_path / "out").exists()


def test_verifying_passes_a_damaged_checkpoint_over(copied, capsys):
    go_on(copied, num_epochs=2, num_checkpoints=2)
    checkpoints = sorted((copied / "out" / "save").glob("CKPT*"))
    assert len(checkpoints) == 2
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    (newest / "framework.ckpt").write_bytes(b"damaged")
    before = files_of(copied / "out" / "save")
    recipe("verify").main([str(copied / "out" / "hyperparams.yaml")])
    assert files_of(copied / "out" / "save") == before
    assert "checkpoint is passed over: " in capsys.readouterr().out
