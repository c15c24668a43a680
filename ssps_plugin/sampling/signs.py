"""What can be known of references and clusters without labels. Ours."""

import torch
from torch import Tensor

# References multiplied at once: 128 MB of float32 at dimension 512.
_CHUNK_ROWS = 1 << 16
# Of an axis, so that one without variance has a logarithm.
_LEAST_VARIANCE = 1e-12


def effective_rank(references: Tensor) -> float:
    """Compute over how many directions references are spread.

    The exponential of the entropy of the shares that the principal axes have
    of the variance: from 1, where all lie on a line, to the dimension, where
    no direction is preferred. It takes a product of the references with
    themselves, `dim` times less than a comparison of all with all.

    Arguments
    ---------
    references : torch.Tensor
        `(num, dim)`, any float dtype, finite.

    Returns
    -------
    float
        In [1, dim]; 0 for fewer than two references.

    Source: O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007.

    Example
    -------
    >>> corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> round(effective_rank(corners), 6)
    2.0
    """
    num, dim = references.shape
    if num < 2:
        return 0.0
    second = references.new_zeros(dim, dim, dtype=torch.float64)
    for rows in references.split(_CHUNK_ROWS):
        rows = rows.float()
        second += (rows.T @ rows).double()
    mean = references.sum(0, dtype=torch.float64) / num
    covariance = second / num - mean[:, None] * mean
    variances = torch.linalg.eigvalsh(covariance).clamp(min=_LEAST_VARIANCE)
    shares = variances / variances.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def adjusted_rand_index(a: Tensor, b: Tensor) -> float:
    """Compute how well two clusterings of the same utterances agree.

    Of the pairs that one clustering puts together, how many the other puts
    together too, corrected for chance. Only pairs of clusters that occur are
    counted, so there is no table of clusters by clusters.

    Arguments
    ---------
    a, b : torch.Tensor
        `(num,)` integers, an utterance's cluster; -1 for none. Utterances
        without one of both are left out.

    Returns
    -------
    float
        1 for the same clusters, whatever their numbers, and about 0 where one
        says nothing of the other. 1 where neither puts two together.

    Source: L. Hubert and P. Arabie, Comparing partitions, Journal of
    Classification, 1985.

    Example
    -------
    >>> adjusted_rand_index(torch.tensor([0, 0, 1]), torch.tensor([5, 5, 2]))
    1.0
    """
    both = (a >= 0) & (b >= 0)
    a, b = a[both].long(), b[both].long()
    if not len(a):
        return 1.0
    together = _count_pairs(a * (int(b.max()) + 1) + b)
    of_a, of_b = _count_pairs(a), _count_pairs(b)
    expected = of_a * of_b / max(1.0, len(a) * (len(a) - 1) / 2)
    most = (of_a + of_b) / 2
    if most == expected:
        return 1.0
    return (together - expected) / (most - expected)


def reciprocal_fraction(nearest: Tensor) -> float:
    """Return how many are the nearest of what is nearest to them.

    Arguments
    ---------
    nearest : torch.Tensor
        `(num,)` int64, which one is nearest to each; -1 for none, which is
        left out.

    Example
    -------
    >>> reciprocal_fraction(torch.tensor([1, 0, 1, -1]))
    0.6666666666666666
    """
    index = (nearest >= 0).nonzero().flatten()
    if not len(index):
        return 0.0
    back = nearest[nearest[index].long()]
    return int((back == index).sum()) / len(index)


def _count_pairs(labels: Tensor) -> float:
    """Count the pairs of utterances that have the same label."""
    counts = torch.unique(labels, return_counts=True)[1].double()
    return float((counts * (counts - 1)).sum() / 2)
