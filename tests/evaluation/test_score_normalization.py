"""S-norm against a loop over the trials in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.evaluation import score_normalization
from ssps_plugin.evaluation.score_normalization import s_norm
from ssps_plugin.evaluation.scoring import cosine_scores
from ssps_plugin.evaluation.trial_list import TrialList

TRIALS = TrialList.from_names(
    [1, 0, 0, 1], ["a", "a", "b", "c"], ["b", "c", "c", "c"]
)


def vectors(num, seed, dim=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, dim, generator=generator)


def normalized_by_loop(embeddings, cohort, top_n):
    embeddings = F.normalize(embeddings.double(), dim=1)
    cohort = F.normalize(cohort.double(), dim=1)
    found = []
    for enrol, test in zip(TRIALS.enrol, TRIALS.test, strict=True):
        score = torch.dot(embeddings[enrol], embeddings[test])
        sides = []
        for side in (enrol, test):
            against = [torch.dot(embeddings[side], row) for row in cohort]
            best = torch.stack(sorted(against, reverse=True)[:top_n])
            sides.append((score - best.mean()) / best.std(correction=0))
        found.append(sum(sides) / 2)
    return torch.stack(found)


@pytest.mark.parametrize("top_n", [2, 5, 9])
def test_equals_a_loop(top_n):
    embeddings, cohort = 3 * vectors(3, 0), vectors(9, 1)
    scores = cosine_scores(embeddings, TRIALS)
    found = s_norm(scores, embeddings, TRIALS, cohort, top_n)
    expected = normalized_by_loop(embeddings, cohort, top_n)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_all_of_the_cohort_is_the_default():
    embeddings, cohort = vectors(3, 0), vectors(9, 1)
    scores = cosine_scores(embeddings, TRIALS)
    assert torch.equal(
        s_norm(scores, embeddings, TRIALS, cohort),
        s_norm(scores, embeddings, TRIALS, cohort, top_n=9),
    )


def test_blocks_do_not_matter(monkeypatch):
    embeddings, cohort = vectors(3, 0), vectors(9, 1)
    scores = cosine_scores(embeddings, TRIALS)
    whole = s_norm(scores, embeddings, TRIALS, cohort, 4)
    monkeypatch.setattr(score_normalization, "ROWS_PER_BLOCK", 2)
    found = s_norm(scores, embeddings, TRIALS, cohort, 4)
    torch.testing.assert_close(found, whole)


def test_an_utterance_that_is_like_everybody_scores_lower():
    # Both trials have one cosine, but "hub" is near to all of the cohort.
    trials = TrialList.from_names([0, 0], ["hub", "own"], ["x", "y"])
    direction = torch.tensor([1.0, 0.0, 0.0])
    angle = math.acos(0.6)
    hub, own = direction, torch.tensor([0.0, 0.0, 1.0])
    x = torch.tensor([0.6, 0.0, math.sin(angle)])
    y = torch.tensor([math.sin(angle), 0.0, 0.6])
    cohort = torch.tensor([[1.0, 0.1, 0.0], [1.0, -0.2, 0.0], [1.0, 0.3, 0.1]])
    embeddings = torch.stack([hub, x, own, y])
    order = [["hub", "x", "own", "y"].index(u) for u in trials.utterances]
    embeddings = embeddings[order]
    scores = cosine_scores(embeddings, trials)
    torch.testing.assert_close(scores[0], scores[1])
    found = s_norm(scores, embeddings, trials, cohort)
    assert found[0] < found[1]


@pytest.mark.parametrize("top_n", [0, 1, 10])
def test_a_top_n_out_of_range_is_an_error(top_n):
    embeddings, cohort = vectors(3, 0), vectors(9, 1)
    with pytest.raises(ValueError, match="change top_n or cohort_size"):
        s_norm(torch.zeros(4), embeddings, TRIALS, cohort, top_n)


def test_a_cohort_of_another_dimension_is_an_error():
    with pytest.raises(ValueError, match="expected a cohort of shape"):
        s_norm(torch.zeros(4), vectors(3, 0), TRIALS, vectors(9, 1, dim=5))
