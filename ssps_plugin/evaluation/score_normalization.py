"""Normalise scores by what the two utterances score against a cohort."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ssps_plugin.evaluation.trial_list import TrialList

#: Rows of embeddings compared with the whole cohort at a time.
ROWS_PER_BLOCK = 1024


@torch.no_grad()
def s_norm(
    scores: torch.Tensor,
    embeddings: torch.Tensor,
    trials: TrialList,
    cohort: torch.Tensor,
    top_n: int | None = None,
) -> torch.Tensor:
    """Symmetric score normalisation, adaptive with ``top_n``.

    A score is shifted and scaled by mean and standard deviation of the scores
    of each side against a cohort of other speakers' utterances, and the two
    are averaged. With ``top_n``, each side's statistics are of its ``top_n``
    highest cohort scores.

    Arguments
    ---------
    scores : torch.Tensor
        (trials,) cosine scores.
    embeddings : torch.Tensor
        (utterances, dim), in the order of ``trials.utterances``; need not be
        normalised.
    trials : TrialList
        What was scored.
    cohort : torch.Tensor
        (cohort, dim) embeddings of utterances of no speaker of the trials.
    top_n : int, optional
        How many of the cohort count on each side; all when left out.

    Returns
    -------
    torch.Tensor
        (trials,) float32.

    Raises
    ------
    ValueError
        Fewer than two cohort utterances that count, or dimensions that differ.

    Source: P. Matejka et al., Analysis of Score Normalization in Multilingual
    Speaker Recognition, Interspeech 2017 (adaptive S-norm, the variant that
    selects for each side by its own cohort scores).

    Example
    -------
    >>> trials = TrialList.from_names([0], ["a"], ["b"])
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> cohort = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    >>> s_norm(torch.zeros(1), embeddings, trials, cohort)
    tensor([-0.3536])
    """
    if cohort.ndim != 2 or cohort.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"expected a cohort of shape (cohort, {embeddings.shape[1]}), got "
            f"{tuple(cohort.shape)}."
        )
    num = len(cohort) if top_n is None else top_n
    if not 2 <= num <= len(cohort):
        raise ValueError(
            "expected at least 2 cohort utterances that count, and not more "
            f"than there are, got top_n {num} of {len(cohort)}: change top_n "
            "or cohort_size."
        )
    cohort = F.normalize(cohort.float(), dim=1)
    mean = torch.empty(len(embeddings), device=embeddings.device)
    std = torch.empty_like(mean)
    for start in range(0, len(embeddings), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        rows = F.normalize(embeddings[block].float(), dim=1)
        against = rows @ cohort.T
        if num < len(cohort):
            against = against.topk(num, dim=1, sorted=False).values
        mean[block] = against.mean(1)
        std[block] = against.std(1, correction=0)
    std.clamp_(min=1e-6)
    sides = (
        torch.from_numpy(side).to(mean.device)
        for side in (trials.enrol, trials.test)
    )
    scores = scores.to(mean.device)
    enrol, test = ((scores - mean[side]) / std[side] for side in sides)
    return (enrol + test) / 2
