"""Cosine scores of many trials in little memory."""

from __future__ import annotations

import torch

from ssps_plugin.evaluation.trial_list import TrialList

#: Trials scored at a time: two gathered blocks of 512-d rows fit a CPU cache.
TRIALS_PER_BLOCK = 512


@torch.no_grad()
def cosine_scores(embeddings: torch.Tensor, trials: TrialList) -> torch.Tensor:
    """Cosine of every trial's two embeddings.

    The embeddings are neither copied nor normalised as a whole: only a block
    of trials is gathered at a time.

    Arguments
    ---------
    embeddings : torch.Tensor
        (utterances, dim), floating point, in the order of
        ``trials.utterances``; need not be normalised.
    trials : TrialList
        Which to compare.

    Returns
    -------
    scores : torch.Tensor
        (trials,) float32 in [-1, 1] (up to rounding), on the embeddings'
        device, without gradient.

    Raises
    ------
    ValueError
        If there is not one finite, non-zero embedding per utterance.

    Example
    -------
    >>> embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    >>> trials = TrialList.from_names([0, 1], ["a", "a"], ["b", "c"])
    >>> cosine_scores(embeddings, trials)
    tensor([0.0000, 0.7071])
    """
    norms = _norms(embeddings, trials)
    enrol = torch.from_numpy(trials.enrol).to(embeddings.device)
    test = torch.from_numpy(trials.test).to(embeddings.device)
    scores = torch.empty(len(trials), device=embeddings.device)
    for start in range(0, len(trials), TRIALS_PER_BLOCK):
        block = slice(start, start + TRIALS_PER_BLOCK)
        # Of whole rows, index_select copies twice as fast as indexing.
        one = embeddings.index_select(0, enrol[block]).float()
        other = embeddings.index_select(0, test[block]).float()
        scores[block] = torch.linalg.vecdot(one, other)
    return scores.div_(norms[enrol]).div_(norms[test])


def _norms(embeddings: torch.Tensor, trials: TrialList) -> torch.Tensor:
    """Length of every embedding (utterances,), checked to have a direction."""
    expected = len(trials.utterances)
    if embeddings.ndim != 2 or len(embeddings) != expected:
        raise ValueError(
            f"expected embeddings of shape ({expected}, dim), one for every "
            f"utterance of the trial list, got {tuple(embeddings.shape)}."
        )
    norms = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float32)
    bad = (~(torch.isfinite(norms) & (norms > 0))).nonzero().flatten()
    if len(bad):
        raise ValueError(
            "expected finite embeddings that are not all zero, got "
            f"{len(bad)} others, the first that of "
            f"{trials.utterances[int(bad[0])]}: check its audio and the model."
        )
    return norms
