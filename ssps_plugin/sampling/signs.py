"""Label-free signs of how far draws can be trusted: figures for the log."""

import torch
from torch import Tensor

from ssps_plugin.sampling.strategy import principal_axes


def effective_rank(references: Tensor) -> float:
    """Compute on how many directions references lie.

    exp of the entropy of the principal axes' shares of the variance: 1 where
    one axis holds all of it, `dim` where all hold as much.

    Arguments
    ---------
    references : torch.Tensor
        `(num, dim)`, any float dtype.

    Returns
    -------
    float
        In [1, dim]; 0 of references that are all the same, or of none.

    Source: O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007; here of
    the covariance.

    Example
    -------
    >>> round(effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), 3)
    1.0
    >>> round(effective_rank(torch.cat([torch.eye(2), -torch.eye(2)])), 3)
    2.0
    """
    axes = principal_axes(references) if len(references) else None
    if axes is None:
        return 0.0
    variance = axes.variance[axes.variance > 0]
    shares = variance / variance.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def mutual_neighbors(lists: Tensor) -> float:
    """Compute which fraction of the nearest neighbours are so mutually.

    Arguments
    ---------
    lists : torch.Tensor
        `(num_utterances, 1 + num_neighbors)`: each utterance's own number,
        then its neighbours, the nearest first; -1 where it has no list.

    Returns
    -------
    float
        Of the utterances that have a list, those that are the nearest
        neighbour of their nearest neighbour; 0 without lists.

    Example
    -------
    >>> mutual_neighbors(torch.tensor([[0, 1], [1, 0], [2, 1], [-1, -1]]))
    0.6666666666666666
    """
    nearest = lists[lists[:, 0] >= 0][:, :2].long()
    if not len(nearest):
        return 0.0
    own, other = nearest.unbind(1)
    return float((lists[other, 1] == own).double().mean())


def reciprocal_clusters(clusters: Tensor, neighbors: Tensor) -> float:
    """Compute for how many utterances the neighbouring cluster is mutual.

    Arguments
    ---------
    clusters : torch.Tensor
        `(num_utterances,)`, the cluster of every utterance, -1 for none.
    neighbors : torch.Tensor
        `(num_clusters, num_neighbors)` int64, the nearest other clusters of
        each, the nearest first.

    Returns
    -------
    float
        Of the utterances that are clustered, those whose cluster is the
        nearest to the cluster that is nearest to it; 0 if none are.

    Example
    -------
    >>> neighbors = torch.tensor([[1], [0], [1]])
    >>> reciprocal_clusters(torch.tensor([0, 1, 2, 2, -1]), neighbors)
    0.5
    """
    own = clusters[clusters >= 0].long()
    if not len(own):
        return 0.0
    nearest = neighbors[:, 0]
    return float((nearest[nearest[own]] == own).double().mean())
