"""A corpus, and runs on it, that the tests of trained encoders share."""

import shutil

import pytest

from tests.recipes.corpora import write_corpus
from tests.recipes.running import run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(
        tmp_path_factory.mktemp("corpus"), num_speakers=16, num_utterances=4
    )


@pytest.fixture(scope="session")
def finished(corpus, tmp_path_factory):
    """A finished run: SSPS from epoch 3 of 4, the last 2 averaged."""
    output = tmp_path_factory.mktemp("runs") / "finished"
    run(
        "simclr_ssps.yaml",
        output,
        data_folder=corpus,
        num_epochs=4,
        averaged_epochs=2,
        num_held_out_speakers=4,
        num_made_trials=200,
        global_batch_size=16,
        false_acceptance_rate=0.05,
    )
    return output


@pytest.fixture
def copied(finished, tmp_path):
    """The run in another place, to be changed."""
    return shutil.copytree(finished, tmp_path / "copied")


@pytest.fixture(scope="session")
def exported(finished, tmp_path_factory):
    from ssps_plugin.pretrained import export_run

    return export_run(finished, tmp_path_factory.mktemp("exports") / "export")


@pytest.fixture(scope="session")
def trials(finished, corpus):
    """Scores that training has written, with the two files of each."""
    lines = (finished / "scores.txt").read_text().splitlines()
    rows = [line.split() for line in lines]
    return [
        (float(score), corpus / enrol, corpus / test)
        for score, enrol, test in rows
    ]
