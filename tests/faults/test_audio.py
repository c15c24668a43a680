"""Claims about runs whose audio is damaged or lost while they train."""

import csv
import os
import pathlib

import pytest
import torch

from tests.recipes.corpora import write_corpus
from tests.recipes.running import final_model, run

pytestmark = pytest.mark.slow


@pytest.fixture
def trained_on(tmp_path):
    """A manifest of a corpus of 48 files, of which some are lost."""

    def make(*lost):
        folder = tmp_path / "data"
        write_corpus(folder)
        files = sorted(folder.rglob("*.wav"))
        with open(tmp_path / "train.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["ID", "wav", "duration"])
            for path in files:
                name = path.relative_to(folder).with_suffix("")
                writer.writerow([name, path, 0.6])
        for number, kind in lost:
            os.remove(files[number])
            if kind == "garbage":
                files[number].write_bytes(b"no audio")
            elif kind == "fifo":
                os.mkfifo(files[number])
        return tmp_path / "train.csv", files

    return make


def train(manifest, output, **options):
    return run(
        "simclr_ssps.yaml",
        output,
        train_manifest=manifest,
        trials=None,
        num_held_out_speakers=None,
        num_made_trials=None,
        **options,
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_goes_on_without_lost_files_and_names_them(
    trained_on, tmp_path, num_workers
):
    lost = [(0, "gone"), (7, "garbage"), (30, "fifo")]
    manifest, files = trained_on(*lost)
    models = []
    for name in ("one", "two"):
        train(manifest, tmp_path / name, num_workers=num_workers)
        models.append(final_model(tmp_path / name))
    for key, value in models[0].items():
        assert torch.equal(value, models[1][key]), key
    if num_workers == 0:  # where pytest sees the log of this process
        log = pathlib.Path(tmp_path / "two" / "log.txt").read_text()
        for number, _ in lost:
            assert str(files[number]) in log


def test_a_run_whose_files_are_lost_stops_and_says_what_to_change(
    trained_on, tmp_path
):
    manifest, _ = trained_on(*((number, "gone") for number in range(12)))
    with pytest.raises(RuntimeError, match="cannot be read.*max_unreadable"):
        train(manifest, tmp_path / "run", num_workers=0)
