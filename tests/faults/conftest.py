"""What the faults are injected into."""

import pytest

from tests.recipes.corpora import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))
