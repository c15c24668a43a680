"""Normalised mutual information of two labelings of the same utterances."""

from __future__ import annotations

import torch


def normalized_mutual_information(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far one labeling tells the other, in [0, 1].

    Mutual information over the arithmetic mean of the two entropies, as
    scikit-learn's default. Only the pairs of labels that occur are counted:
    no clusters × speakers table is made.

    Arguments
    ---------
    a : torch.Tensor
        (utterances,), integers of any value: say, clusters.
    b : torch.Tensor
        (utterances,), integers of any value: say, speakers.

    Returns
    -------
    nmi : float
        1 where the labelings are the same up to names (two constant ones
        included), 0 where they are independent.

    Raises
    ------
    ValueError
        If the shapes differ or are not (utterances,) with utterances > 0.

    Example
    -------
    >>> clusters = torch.tensor([5, 5, 2, 2])
    >>> normalized_mutual_information(clusters, torch.tensor([0, 0, 1, 1]))
    1.0
    >>> normalized_mutual_information(clusters, torch.tensor([0, 1, 0, 1]))
    0.0
    """
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(
            "expected two labelings of one shape (utterances,), not empty, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    a, counts_a = _compact(a)
    b, counts_b = _compact(b.to(a.device))
    if len(counts_a) == len(counts_b) == 1:
        return 1.0
    joint, counts = torch.unique(a * len(counts_b) + b, return_counts=True)
    of_a = counts_a[joint // len(counts_b)]
    of_b = counts_b[joint % len(counts_b)]
    # The ratio of two exact integers: 1, and a log of 0, for independence.
    ratio = (counts * len(a)).double() / (of_a * of_b).double()
    information = float((counts * ratio.log()).sum() / len(a))
    mean_entropy = 0.5 * (_entropy(counts_a) + _entropy(counts_b))
    return min(1.0, max(0.0, information / mean_entropy))


def _compact(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels renamed to 0, 1, 2, … and how often each occurs."""
    _, compact, counts = torch.unique(
        labels, return_inverse=True, return_counts=True
    )
    return compact, counts


def _entropy(counts: torch.Tensor) -> float:
    """Entropy, in nats, of the distribution that the counts make."""
    total = counts.sum()
    return float((counts * (total / counts.double()).log()).sum() / total)
