"""What several files of tests look at."""

import pytest

from tests.recipes.corpora import write_corpus
from tests.recipes.running import run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def whole_run(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "whole"
    return output, run("simclr_ssps.yaml", output, data_folder=corpus)
