"""The folder of a run is read as it is, wherever it lies."""

import os
import shutil

import pytest

from ssps_plugin.evaluation.trial_lookup import resolve_trial_list
from ssps_plugin.report.run import Run, find_twin, find_twin_among
from tests.report.conftest import write_run


def test_start_and_end_are_those_of_settings_and_history(tmp_path):
    run = Run(write_run(tmp_path / "simclr_ssps" / "7"))
    assert run.name == "simclr_ssps/7"
    assert (run.start_epoch, run.last_epoch, run.num_epochs) == (3, 4, 4)
    assert run.has_started_ssps and run.is_finished
    assert run.at(2)["eer"] == 16.0 and run.at(9) == {}
    assert run.last_verified()["epoch"] == 4


def test_ssps_that_has_not_started_yet_is_no_ssps(tmp_path):
    run = Run(write_run(tmp_path / "a", start_epoch=9))
    assert run.start_epoch == 9 and not run.has_started_ssps


def test_plain_run_has_no_start(tmp_path):
    history = [{"epoch": 1, "loss": 1.0}]
    run = Run(write_run(tmp_path / "a", history, start_epoch=None))
    assert run.start_epoch is None


def test_start_is_taken_from_coverage_where_settings_lack_it(tmp_path):
    run = Run(write_run(tmp_path / "a", start_epoch=None))
    assert run.start_epoch == 3


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_what_is_no_run_is_refused_with_its_name(tmp_path, kind):
    folder = tmp_path / "somewhere"
    if kind == "file":
        folder.write_text("")
    elif kind == "empty":
        folder.mkdir()
    with pytest.raises(FileNotFoundError, match="Expected .*somewhere"):
        Run(folder)


def test_folder_above_runs_names_one_of_them(tmp_path):
    write_run(tmp_path / "simclr" / "7")
    with pytest.raises(FileNotFoundError, match="such as .*simclr/7"):
        Run(tmp_path)


def test_damaged_history_is_a_sentence_and_the_rest_is_read(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "history.json").write_text("[{")
    run = Run(folder)
    assert run.history == [] and run.settings["seed"] == 7
    (fault,) = run.faults
    assert "history.json" in fault and "damaged" in fault


def test_run_with_nothing_but_damage_is_refused(tmp_path):
    folder = write_run(tmp_path / "a", history=None)
    (folder / "hyperparams.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="hyperparams.yaml"):
        Run(folder)


def test_relative_paths_start_where_the_run_was_started(tmp_path, monkeypatch):
    settings = "output_folder: results/simclr/7\n"
    folder = write_run(tmp_path / "results" / "simclr" / "7", settings=settings)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(os.sep)
    assert Run(folder).find("data") == tmp_path / "data"


def test_file_beside_is_found_after_the_run_was_moved(tmp_path):
    folder = write_run(tmp_path / "old" / "7")
    (folder / "train.csv").write_text("")
    moved = tmp_path / "new"
    shutil.move(folder, moved)
    assert Run(moved).find(folder / "train.csv") == moved / "train.csv"
    assert Run(moved).find(folder / "other.csv") is None


@pytest.mark.parametrize("given", ["voxceleb1-e", "https://x.org/a/list.txt"])
def test_a_named_list_of_an_unfinished_run_is_found(tmp_path, given):
    folder = write_run(tmp_path / "a", settings=f"trials: {given}\n")
    assert Run(folder).trial_list() is None
    path = resolve_trial_list(given, [], folder / "trials")
    path.parent.mkdir(parents=True)
    path.write_text("1 a b\n")
    assert Run(folder).trial_list() == path


def test_twin_is_the_plain_run_of_the_same_seed_beside(tmp_path):
    run = Run(write_run(tmp_path / "simclr_ssps" / "7"))
    assert find_twin(run) is None
    plain = [{"epoch": 1, "loss": 1.0}]
    write_run(tmp_path / "simclr" / "8", plain, start_epoch=None)
    assert find_twin(run) is None  # another seed
    twin = write_run(tmp_path / "simclr" / "7", plain, start_epoch=None)
    assert find_twin(run).folder.samefile(twin)
    assert find_twin(Run(twin)) is None  # a plain run has none


def test_twin_among_given_runs_is_of_the_same_experiment(tmp_path):
    plain = [{"epoch": 1, "loss": 1.0}]
    settings = "seed: 7\nexperiment: {}\n"
    ssps, dino, simclr = (
        Run(
            write_run(
                tmp_path / name, plain, settings.format(name), start_epoch
            )
        )
        for name, start_epoch in (
            ("simclr_ssps", 3),
            ("dino", None),
            ("simclr", None),
        )
    )
    assert find_twin_among(ssps, [ssps, dino, simclr]) is simclr
    assert find_twin_among(ssps, [ssps, dino]) is None
    assert find_twin_among(simclr, [ssps, simclr]) is None
