"""Runs to report on: a trained pair, and folders that are only written."""

import json

import pytest

from tests.recipes.corpora import write_corpus
from tests.recipes.running import run

HISTORY = [
    {"epoch": 1, "loss": 0.5},
    {"epoch": 2, "loss": 0.25, "eer": 16.0, "min_dcf_0.01": 0.9},
    {"epoch": 3, "loss": 4.0, "coverage": 1.0, "speaker_accuracy": 0.6},
    {
        "epoch": 4,
        "loss": 3.0,
        "coverage": 1.0,
        "speaker_accuracy": 0.75,
        "recording_accuracy": 0.125,
        "eer": 8.0,
        "min_dcf_0.01": 0.6,
    },
]
SETTINGS = "seed: 7\nnum_epochs: 4\naveraged_epochs: 2\n"


def write_run(folder, history=HISTORY, settings=SETTINGS, start_epoch=3):
    """Write the files of a run that was never trained: no checkpoint."""
    folder.mkdir(parents=True)
    if history is not None:
        (folder / "history.json").write_text(json.dumps(history))
    if start_epoch is not None:
        settings += f"ssps_start_epoch: {start_epoch}\n"
    (folder / "hyperparams.yaml").write_text(settings)
    return folder


def write_trials(folder, trials, scores, path=None):
    """Write scores of `(label, enrol, test)`, as a run does, and their list."""
    path = path or folder / "trials.txt"
    label = "" if trials[0][0] is None else "{} "
    path.write_text(
        "".join(f"{label.format(t[0])}{t[1]} {t[2]}\n" for t in trials)
    )
    rows = zip(scores, trials, strict=True)
    (folder / "scores.txt").write_text(
        "".join(f"{score:.9g} {t[1]} {t[2]}\n" for score, t in rows)
    )
    results = {"trial_list": str(path), "num_trials": len(trials)}
    (folder / "results.json").write_text(json.dumps(results))
    return path


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A trained run with SSPS, and its plain twin beside it."""
    root = tmp_path_factory.mktemp("pair")
    corpus = write_corpus(root / "corpus")
    options = {"data_folder": corpus, "averaged_epochs": 2, "seed": 7}
    run("simclr_ssps.yaml", root / "simclr_ssps" / "7", **options)
    run("simclr.yaml", root / "simclr" / "7", **options)
    return root / "simclr_ssps" / "7", root / "simclr" / "7"
