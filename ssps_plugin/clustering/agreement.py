"""How far two labelings of the same utterances agree, whatever the names."""

from typing import NamedTuple

import torch
from torch import Tensor


def normalized_mutual_information(a: Tensor, b: Tensor) -> float:
    """Compute the normalised mutual information of two labelings, in [0, 1].

    Mutual information over the arithmetic mean of the two entropies, as
    scikit-learn's default. Only pairs of labels that occur are counted, so
    there is no table of clusters × speakers.

    Arguments
    ---------
    a : torch.Tensor
        `(utterances,)`, integers of any value, for example clusters.
    b : torch.Tensor
        `(utterances,)`, integers of any value, for example speakers.

    Returns
    -------
    float
        1 if the labelings are the same up to names (also if both are
        constant), 0 if they are independent.

    Raises
    ------
    ValueError
        The shapes differ or are not `(utterances,)` with utterances > 0.

    Example
    -------
    >>> clusters = torch.tensor([5, 5, 2, 2])
    >>> normalized_mutual_information(clusters, torch.tensor([0, 0, 1, 1]))
    1.0
    >>> normalized_mutual_information(clusters, torch.tensor([0, 1, 0, 1]))
    0.0
    """
    table = _count_pairs(a, b)
    if len(table.of_a) == len(table.of_b) == 1:
        return 1.0
    of_a, of_b = table.of_a[table.row], table.of_b[table.column]
    # The ratio of two exact integers: 1, and a log of 0, for independence.
    ratio = (table.counts * len(a)).double() / (of_a * of_b).double()
    information = float((table.counts * ratio.log()).sum() / len(a))
    mean_entropy = 0.5 * (_entropy(table.of_a) + _entropy(table.of_b))
    return min(1.0, max(0.0, information / mean_entropy))


def adjusted_rand_index(a: Tensor, b: Tensor) -> float:
    """Compute the Rand index of two labelings, adjusted for chance.

    Of the pairs of utterances, how many are together in both labelings: less
    what is expected of labelings of these sizes by chance, over what is
    possible. Many small clusters share much mutual information by chance, but
    no adjusted Rand index. Only pairs of labels that occur are counted.

    Arguments
    ---------
    a, b : torch.Tensor
        `(utterances,)`, integers of any value, for example the clusters of two
        epochs.

    Returns
    -------
    float
        1 if the labelings are the same up to names, about 0 if they are
        independent; never below -0.5.

    Raises
    ------
    ValueError
        The shapes differ or are not `(utterances,)` with utterances > 0.

    Source: L. Hubert and P. Arabie, Comparing partitions, Journal of
    Classification, 1985.

    Example
    -------
    >>> clusters = torch.tensor([5, 5, 2, 2])
    >>> adjusted_rand_index(clusters, torch.tensor([0, 0, 1, 1]))
    1.0
    >>> adjusted_rand_index(clusters, torch.tensor([0, 1, 0, 1]))
    -0.5
    """
    table = _count_pairs(a, b)
    # Python's integers: their products do not fit into 64 bits.
    together, of_a, of_b = (
        int((counts * (counts - 1) // 2).sum())
        for counts in (table.counts, table.of_a, table.of_b)
    )
    num_pairs = len(a) * (len(a) - 1) // 2
    # All terms times 2 · num_pairs: exact, so equal labelings give 1.
    expected = 2 * of_a * of_b
    possible = (of_a + of_b) * num_pairs
    if possible == expected:  # both all together, or both all apart
        return 1.0
    return (2 * together * num_pairs - expected) / (possible - expected)


class _Pairs(NamedTuple):
    """The cells of a contingency table in which there is anything.

    Arguments
    ---------
    of_a, of_b : torch.Tensor
        How often each label of `a` and of `b` occurs.
    row, column, counts : torch.Tensor
        Of each pair of labels that occurs: the labels' positions in `of_a` and
        `of_b`, and how often.
    """

    of_a: Tensor
    of_b: Tensor
    row: Tensor
    column: Tensor
    counts: Tensor


def _count_pairs(a: Tensor, b: Tensor) -> _Pairs:
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(
            "Expected two labelings of one shape (utterances,), not empty, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}: give one label of "
            "each kind per utterance."
        )
    a, of_a = _compact(a)
    b, of_b = _compact(b.to(a.device))
    pairs, counts = torch.unique(a * len(of_b) + b, return_counts=True)
    return _Pairs(of_a, of_b, pairs // len(of_b), pairs % len(of_b), counts)


def _compact(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rename labels to 0, 1, 2, … and count how often each occurs."""
    _, compact, counts = torch.unique(
        labels, return_inverse=True, return_counts=True
    )
    return compact, counts


def _entropy(counts: Tensor) -> float:
    """Compute the entropy, in nats, of the distribution given by counts."""
    total = counts.sum()
    return float((counts * (total / counts.double()).log()).sum() / total)
