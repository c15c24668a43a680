"""The cohort is drawn from the training set, and files are embedded once."""

import pathlib

import pytest
import torch

from ssps_plugin.evaluation.cohort import draw_cohort
from ssps_plugin.evaluation.embedding_cache import EmbeddingCache

FILES = [f"{number}.wav" for number in range(20)]


def test_a_cohort_is_distinct_files_and_the_same_for_a_seed():
    cohort = draw_cohort(FILES, 7, top_n=3, seed=1)
    assert len(set(cohort.files)) == 7
    assert set(map(str, cohort.files)) <= set(FILES)
    assert cohort == draw_cohort(FILES, 7, top_n=3, seed=1)
    assert cohort.files != draw_cohort(FILES, 7, seed=2).files


def test_a_small_training_set_is_the_cohort():
    assert len(draw_cohort(FILES, 1000).files) == len(FILES)


@pytest.mark.parametrize(("size", "top_n"), [(1, None), (5, 6), (99, 21)])
def test_a_cohort_too_small_for_statistics_is_an_error(size, top_n):
    with pytest.raises(ValueError, match="at least 2 .*Lower cohort_top_n"):
        draw_cohort(FILES, size, top_n)


def test_a_file_is_embedded_once_whatever_the_order():
    embedded = []

    def extract(files):
        embedded.extend(files)
        return torch.tensor([[float(str(file))] for file in files])

    cache = EmbeddingCache()
    one, two, three = (pathlib.Path(name) for name in "123")
    first = cache.embeddings_of([two, one], extract)
    assert first.flatten().tolist() == [2.0, 1.0]
    second = cache.embeddings_of([one, three, two, three], extract)
    assert second.flatten().tolist() == [1.0, 3.0, 2.0, 3.0]
    assert embedded == [two, one, three]
