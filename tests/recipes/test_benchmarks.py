"""The benchmarks that look at a run, on a tiny one."""

import csv
import shutil
import subprocess
import sys

import pytest

from tests.recipes.corpora import write_corpus
from tests.recipes.running import (
    ROOT,
    newest_checkpoint,
    own_process_environment,
    run,
)

pytestmark = pytest.mark.slow
ARGUMENTS = {
    "draws": (),
    "readiness": ("--num_neighbors", "4"),
    "cluster_number": ("--epochs", "2", "3"),
    "overlap_rules": (),
    "list_whitening": ("--epochs", "3"),
}


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """One with SSPS that keeps its checkpoints, and one without."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"data_folder": corpus, "num_epochs": 4, "num_checkpoints": 9}
    run("simclr_ssps.yaml", folder / "ssps", ssps_start_epoch=2, **options)
    run("simclr.yaml", folder / "plain", **options)
    return folder


def call(script, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{script}.py", *arguments],
        env=own_process_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("script", ARGUMENTS)
def test_it_looks_at_the_run_and_a_table_is_as_wide_as_its_heads(script, runs):
    done = call(script, runs / "ssps", *ARGUMENTS[script])
    assert done.returncode == 0, done.stderr
    assert "ssps" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    if script not in ("overlap_rules", "list_whitening"):  # these have none
        assert len(rows) > 2 and len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize("script", ARGUMENTS)
@pytest.mark.parametrize("name", ["plain", "nothing"])
def test_what_is_no_run_with_ssps_ends_in_words(script, name, runs):
    done = call(script, runs / name, *ARGUMENTS[script])
    assert done.returncode == 1
    assert done.stderr.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A run on a dozen utterances, whose manifest names no recordings."""
    folder = tmp_path_factory.mktemp("few")
    corpus = write_corpus(folder / "corpus", 5, 2, 2)
    options = {"num_clusters": 3, "global_batch_size": 4, "queue_size": 8}
    options |= {"num_epochs": 3, "num_checkpoints": 9, "ssps_start_epoch": 2}
    run("simclr_ssps.yaml", folder / "ssps", data_folder=corpus, **options)
    return folder / "ssps"


@pytest.mark.parametrize(
    "script", ["overlap_rules", "cluster_number", "list_whitening"]
)
def test_a_run_that_is_too_small_for_lists_is_named(script, few):
    done = call(script, few, *ARGUMENTS[script])
    assert done.returncode == 1
    assert "more than 20 utterances" in done.stderr, done.stderr
    assert "got 12 in" in done.stderr and "Traceback" not in done.stderr


def test_checkpoints_of_too_few_epochs_are_named(runs, tmp_path):
    folder = tmp_path / "one" / "7"
    shutil.copytree(runs / "ssps", folder)
    for path in (folder / "save").glob("CKPT*"):
        if path != newest_checkpoint(folder):
            shutil.rmtree(path)
    done = call("readiness", folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "references of two epochs, got those of epochs [" in done.stderr


def test_a_manifest_without_recordings_is_enough_for_speakers(runs, tmp_path):
    folder = tmp_path / "unnamed" / "7"
    shutil.copytree(runs / "ssps", folder)
    manifest = folder / "train.csv"
    rows = list(csv.DictReader(manifest.open()))
    columns = [name for name in rows[0] if name != "recording"]
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert call("overlap_rules", folder).returncode == 0
    done = call("cluster_number", folder, *ARGUMENTS["cluster_number"])
    assert "unnamed/7 has no recordings" in done.stderr


def test_a_number_that_is_out_of_range_ends_in_words(runs):
    for script, option in (
        ("draws", "--num_clusters=0"),
        ("draws", "--num_clusterings=0"),
        ("readiness", "--num_neighbors=60"),
    ):
        done = call(script, runs / "ssps", option)
        assert done.returncode == 1 and "Traceback" not in done.stderr
