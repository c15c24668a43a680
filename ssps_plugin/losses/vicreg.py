"""VICReg's loss: invariance, variance and covariance."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import is_from_to
from ssps_plugin.distributed import JointBatch
from ssps_plugin.losses.objective_module import check_pairs

# Under the square root of the variances, which has no finite slope at 0.
_VARIANCE_OFFSET = 1e-4


class VICRegLoss(nn.Module):
    """Bring pairs together; keep dimensions spread out and uncorrelated.

    All three terms are over the joint batch of the ranks, in float32:

    - invariance, the mean squared error between anchors and positives;
    - variance, how far each dimension's standard deviation falls short of 1,
      mean over the dimensions, for anchors plus for positives;
    - covariance, the squared covariances of different dimensions, their sum
      over the number of dimensions, for anchors plus for positives.

    Arguments
    ---------
    invariance_weight, variance_weight, covariance_weight : float
        Weights of the terms, at least 0. The defaults are those published for
        SSPS.

    Raises
    ------
    ValueError
        A weight below 0.

    Source: A. Bardes et al., VICReg, ICLR 2022 (arXiv 2105.04906), equations 1
    to 6; weights of Lepage and Dehak (arXiv 2501.17772). As there, the squared
    error is a mean over the dimensions too, and the variance terms of both
    sides are summed, where other code takes their mean.

    Example
    -------
    >>> views = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    >>> # Spread wide enough, but both dimensions are the same: covariance 2.
    >>> round(VICRegLoss(covariance_weight=0.5)(views, views).item(), 4)
    4.0
    """

    def __init__(
        self,
        invariance_weight: float = 1.0,
        variance_weight: float = 1.0,
        covariance_weight: float = 0.1,
    ) -> None:
        super().__init__()
        for name, weight in (
            ("invariance_weight", invariance_weight),
            ("variance_weight", variance_weight),
            ("covariance_weight", covariance_weight),
        ):
            if not is_from_to(0, math.inf, weight):
                raise ValueError(
                    f"Expected {name} >= 0, got {weight}: change {name}."
                )
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight

    def forward(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            `(batch, dim)`, any float dtype.
        positives : torch.Tensor
            `(batch, dim)`, row i is the positive of anchor i.

        Returns
        -------
        torch.Tensor
            0-d float32, on every rank the loss of the joint batch.

        Raises
        ------
        ValueError
            Anchors and positives of different shapes, or a joint batch of one,
            which has no variance.
        """
        check_pairs(anchors, positives)
        with torch.autocast(anchors.device.type, enabled=False):
            own = torch.stack([anchors.float(), positives.float()], dim=1)
            # (total, 2, dim)
            pairs = JointBatch.of(own).gather_with_gradient(own)
            if len(pairs) < 2:
                raise ValueError(
                    "Expected at least two utterances in a step, for their "
                    f"variance, got {len(pairs)}: raise global_batch_size."
                )
            return self._loss(pairs)

    def _loss(self, pairs: Tensor) -> Tensor:
        invariance = F.mse_loss(pairs[:, 0], pairs[:, 1])
        centred = (pairs - pairs.mean(0)).transpose(0, 1)  # (2, total, dim)
        degrees = len(pairs) - 1
        variances = centred.square().sum(1) / degrees  # (2, dim)
        deviations = (variances + _VARIANCE_OFFSET).sqrt()
        shortfalls = F.relu(1 - deviations)
        covariances = centred.mT @ centred / degrees  # (2, dim, dim)
        dim = covariances.shape[-1]
        covariance = without_diagonal(covariances).square().sum() / dim
        return (
            self.invariance_weight * invariance
            + self.variance_weight * shortfalls.mean(1).sum()
            + self.covariance_weight * covariance
        )


def without_diagonal(matrices: Tensor) -> Tensor:
    """Set the diagonals of matrices to 0.

    Arguments
    ---------
    matrices : torch.Tensor
        `(..., dim, dim)`.

    Returns
    -------
    torch.Tensor
        New, in the shape of `matrices`, with their gradient.

    Example
    -------
    >>> without_diagonal(torch.ones(2, 2)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    dim = matrices.shape[-1]
    diagonal = torch.eye(dim, dtype=torch.bool, device=matrices.device)
    return matrices.masked_fill(diagonal, 0.0)
