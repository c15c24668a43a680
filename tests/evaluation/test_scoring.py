"""Cosine scores and S-norm against float64 loops; the cohort's draw."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.evaluation import scoring
from ssps_plugin.evaluation.scoring import (
    NoDirectionError,
    cosine_scores,
    draw_cohort,
    s_norm,
)
from ssps_plugin.evaluation.trial_list import TrialList

TRIALS = TrialList.from_names(
    [1, 0, 0, 1], ["a", "a", "b", "c"], ["b", "c", "c", "c"]
)
FILES = [f"{number}.wav" for number in range(20)]


def random_trials(num_trials, num_utterances, seed=0):
    generator = np.random.default_rng(seed)
    enrol, test = generator.integers(0, num_utterances, (2, num_trials))
    labels = generator.integers(0, 2, num_trials).astype(np.uint8)
    names = [f"u{i}" for i in range(num_utterances)]
    return TrialList(names, labels, enrol, test)


def scores_by_loop(embeddings, trials):
    rows = embeddings.double().numpy()
    scores = []
    for i, j in zip(trials.enrol, trials.test, strict=True):
        norms = np.linalg.norm(rows[i]) * np.linalg.norm(rows[j])
        scores.append(float(rows[i] @ rows[j]) / norms)
    return torch.tensor(scores, dtype=torch.float32)


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


@pytest.mark.parametrize("num_trials", [1, 63, 64, 65, 500])
def test_cosines_equal_a_loop_whatever_the_last_block_holds(
    monkeypatch, num_trials
):
    monkeypatch.setattr(scoring, "TRIALS_PER_BLOCK", 64)
    embeddings = 5 * vectors(40, 0, dim=16)
    trials = random_trials(num_trials, 40)
    torch.testing.assert_close(
        cosine_scores(embeddings, trials),
        scores_by_loop(embeddings, trials),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_scored_in_full(dtype):
    embeddings = vectors(40, 0, dim=64).to(dtype)
    trials = random_trials(200, 40)
    scores = cosine_scores(embeddings, trials)
    assert scores.dtype == torch.float32
    expected = scores_by_loop(embeddings, trials)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


def test_scale_of_an_embedding_does_not_matter():
    embeddings = vectors(10, 0, dim=8)
    trials = random_trials(50, 10)
    scaled = embeddings * torch.logspace(-6, 6, 10)[:, None]
    torch.testing.assert_close(
        cosine_scores(embeddings, trials), cosine_scores(scaled, trials)
    )


@pytest.mark.parametrize("scale", [1e-40, 1e-22, 1e16, 1e19, 1e37])
def test_norms_beyond_float32_make_no_difference(scale):
    trials = random_trials(50, 10)
    embeddings = vectors(10, 0)
    scaled = embeddings.clone()
    scaled[3:6] *= scale  # of 1e-40, few digits are left
    torch.testing.assert_close(
        cosine_scores(scaled, trials),
        cosine_scores(embeddings, trials),
        rtol=0,
        atol=1e-6 if scale > 1e-38 else 1e-3,
    )


def test_embeddings_are_left_alone():
    embeddings = torch.randn(10, 8, requires_grad=True)
    before = embeddings.detach().clone()
    scores = cosine_scores(embeddings, random_trials(50, 10))
    assert torch.equal(embeddings.detach(), before)
    assert not scores.requires_grad


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_embedding_without_direction_is_named(bad):
    embeddings = torch.ones(5, 4)
    embeddings[3] = bad
    with pytest.raises(NoDirectionError, match="got 1 others, the .* u3"):
        cosine_scores(embeddings, random_trials(50, 5))


def test_where_no_embedding_is_finite_the_model_is_blamed():
    embeddings = torch.full((5, 4), float("nan"))
    with pytest.raises(ValueError, match="not one finite of 5: the model is"):
        cosine_scores(embeddings, random_trials(50, 5))
    with pytest.raises(ValueError, match="0 are not finite and the rest are z"):
        cosine_scores(torch.zeros(5, 4), random_trials(50, 5))


def test_a_cohort_that_is_not_finite_is_named():
    cohort = vectors(9, 1)
    cohort[4, 2] = float("inf")
    with pytest.raises(
        ValueError, match="cohort, got 1 of 9 .* first in row 4"
    ):
        s_norm(torch.zeros(4), vectors(3, 0), TRIALS, cohort)


@pytest.mark.parametrize("shape", [(4, 8), (5,), (5, 1, 8)])
def test_embeddings_of_another_list_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected embeddings of shape \(5,"):
        cosine_scores(torch.ones(shape), random_trials(50, 5))


@pytest.mark.parametrize("top_n", [2, 5, 9])
def test_s_norm_equals_a_loop(top_n):
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


def test_s_norm_does_not_depend_on_blocks(monkeypatch):
    embeddings, cohort = vectors(3, 0), vectors(9, 1)
    scores = cosine_scores(embeddings, TRIALS)
    whole = s_norm(scores, embeddings, TRIALS, cohort, 4)
    monkeypatch.setattr(scoring, "ROWS_PER_BLOCK", 2)
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
    with pytest.raises(ValueError, match="change cohort_top_n or cohort_size"):
        s_norm(torch.zeros(4), embeddings, TRIALS, cohort, top_n)


def test_a_cohort_of_another_dimension_is_an_error():
    with pytest.raises(ValueError, match="Expected a cohort of shape"):
        s_norm(torch.zeros(4), vectors(3, 0), TRIALS, vectors(9, 1, dim=5))


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
