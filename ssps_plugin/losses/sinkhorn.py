"""Sinkhorn-Knopp: assignments that use all prototypes alike."""

import torch
from torch import Tensor

from ssps_plugin.distributed import log_sum_exp_over_ranks


@torch.no_grad()
def sinkhorn_codes(
    scores: Tensor, epsilon: float, num_iterations: int
) -> Tensor:
    """Assign every row to prototypes so that all are used alike.

    Rows of the other ranks count as if they were in the same batch. Computed
    in the logarithm, so that no scale of the scores overflows.

    Arguments
    ---------
    scores : torch.Tensor
        `(..., rows, num_prototypes)`, similarities; leading dimensions are
        problems of their own. Ranks may bring rows in unequal numbers.
    epsilon : float
        Entropy of the assignments: smaller is harder.
    num_iterations : int
        Times that prototypes, then rows, are scaled to equal sums.

    Returns
    -------
    torch.Tensor
        As `scores`, float32, without gradient. Each row sums to 1; the columns
        approach equal sums with the iterations.

    Source: M. Cuturi, Sinkhorn Distances, NeurIPS 2013; M. Caron et al., SwAV,
    NeurIPS 2020 (arXiv 2006.09882), section 3.1 and appendix A.

    Example
    -------
    >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.5]])  # both like the first
    >>> codes = sinkhorn_codes(scores, epsilon=0.05, num_iterations=50)
    >>> codes.round(decimals=1).abs().tolist()  # but one takes the second
    [[1.0, 0.0], [0.0, 1.0]]
    """
    log_codes = scores.detach().float() / epsilon
    for _ in range(num_iterations):
        own_sums = log_codes.logsumexp(-2, keepdim=True)
        log_codes -= log_sum_exp_over_ranks(own_sums)
        log_codes -= log_codes.logsumexp(-1, keepdim=True)
    return log_codes.exp_()
