"""Cosine scores against a float64 loop."""

import numpy as np
import pytest
import torch

from ssps_plugin.evaluation import scoring
from ssps_plugin.evaluation.scoring import cosine_scores
from ssps_plugin.evaluation.trial_list import TrialList


def seeded():
    return torch.Generator().manual_seed(0)


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


@pytest.mark.parametrize("num_trials", [1, 63, 64, 65, 500])
def test_equals_a_loop_whatever_the_last_block_holds(monkeypatch, num_trials):
    monkeypatch.setattr(scoring, "TRIALS_PER_BLOCK", 64)
    embeddings = 5 * torch.randn(40, 16, generator=seeded())
    trials = random_trials(num_trials, 40)
    torch.testing.assert_close(
        cosine_scores(embeddings, trials),
        scores_by_loop(embeddings, trials),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_scored_in_full(dtype):
    embeddings = torch.randn(40, 64, generator=seeded()).to(dtype)
    trials = random_trials(200, 40)
    scores = cosine_scores(embeddings, trials)
    assert scores.dtype == torch.float32
    expected = scores_by_loop(embeddings, trials)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


def test_scale_of_an_embedding_does_not_matter():
    embeddings = torch.randn(10, 8, generator=seeded())
    trials = random_trials(50, 10)
    scaled = embeddings * torch.logspace(-6, 6, 10)[:, None]
    torch.testing.assert_close(
        cosine_scores(embeddings, trials), cosine_scores(scaled, trials)
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
    with pytest.raises(ValueError, match="got 1 others, the first .* u3"):
        cosine_scores(embeddings, random_trials(50, 5))


@pytest.mark.parametrize("shape", [(4, 8), (5,), (5, 1, 8)])
def test_embeddings_of_another_list_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected embeddings of shape \(5,"):
        cosine_scores(torch.ones(shape), random_trials(50, 5))
