"""AdaFace: a margin that adapts to how good a sample is, told by its norm."""

import math

import torch
from torch import Tensor

from ssps_plugin.distributed import sum_over_ranks
from ssps_plugin.losses.margins.angular import sine
from ssps_plugin.losses.margins.margin import (
    Margin,
    check_not_negative,
    finite_total,
)


class AdaptiveMargin(Margin):
    """Ask for more, by angle or by cosine, as the anchor's norm allows.

    With q the anchor's norm, standardised by running statistics, times
    `concentration`, in [-1, 1], the target is cos(theta - m q) - (m q + m):
    the worst anchors (q = -1) get ArcFace's margin, middling ones CosFace's.
    The angle stays in [0, pi].

    Carried over: theta is the angle of an anchor and its positive, the norm
    is the anchor's; a positive's quality has no say (NT-Xent takes every view
    as anchor in turn). Statistics are over the anchors of all ranks and move
    in train mode only, before they are used. Not for `CentroidSampling` with
    NT-Xent, where half of the anchors would be centroids of norm 1. Differs:
    they start as those of the first step, not at the authors' constants.

    Arguments
    ---------
    margin : float
        m, in [0, pi / 2].
    concentration : float
        h, greater than 0: how much of the norms lies within [-1, 1].
    momentum : float
        Share of the old statistics that is kept, in [0, 1].

    Source: M. Kim et al., AdaFace: Quality Adaptive Margin for Face
    Recognition, CVPR 2022 (arXiv 2204.00964), section 3.

    Example
    -------
    >>> margin = AdaptiveMargin(0.25)
    >>> targets, norms = torch.full((2, 1), 0.5), torch.full((2, 1), 3.0)
    >>> margin(targets, targets, norms)[0].T  # of one quality: CosFace
    tensor([[0.2500, 0.2500]])
    """

    mean: Tensor
    deviation: Tensor
    num_updates: Tensor

    def __init__(
        self,
        margin: float = 0.1,
        concentration: float = 0.333,
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        check_not_negative("margin", margin, math.pi / 2)
        check_not_negative("momentum", momentum, 1.0)
        if concentration <= 0:
            raise ValueError(f"concentration must be > 0, got {concentration}.")
        self.margin = margin
        self.concentration = concentration
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lowered targets, and `others` itself."""
        norms = norms.detach()
        if self.training:
            self._advance(norms)
        quality = (norms - self.mean) / (self.deviation + 1e-3)
        quality = (quality * self.concentration).clamp(-1, 1)
        turned = _turned(targets, -self.margin * quality)
        return turned - self.margin * (quality + 1), others

    def _advance(self, norms: Tensor) -> None:
        """Move the statistics by the norms that are finite, if any are."""
        finite = norms.isfinite()
        total, count = finite_total(norms)
        mean = total / count.clamp(min=1)
        squares = torch.where(finite, (norms - mean) ** 2, 0).sum()
        variance = sum_over_ranks(squares) / (count - 1).clamp(min=1)
        weight = torch.where(self.num_updates == 0, 1.0, 1 - self.momentum)
        weight = weight * (count > 0)
        self.mean.lerp_(mean, weight)
        self.deviation.lerp_(variance.sqrt(), weight)
        self.num_updates += count > 0

    def figures(self) -> dict[str, float]:
        """Return mean and deviation of the anchors' norms."""
        return {
            "norm_mean": float(self.mean),
            "norm_deviation": float(self.deviation),
        }


def _turned(cosines: Tensor, angles: Tensor) -> Tensor:
    """cos(theta + angle), the sum kept within [0, pi]."""
    turned = cosines * angles.cos() - sine(cosines) * angles.sin()
    # theta + angle < 0 where cos(theta) > cos(angle), for a negative angle.
    below = (angles < 0) & (cosines > angles.cos())
    above = (angles > 0) & (cosines < -angles.cos())
    return turned.masked_fill(below, 1.0).masked_fill(above, -1.0)
