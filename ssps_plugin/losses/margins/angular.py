"""ArcFace and SphereFace: margins on the target's angle."""

import math

import torch
from torch import Tensor

from ssps_plugin.losses.margins.margin import Margin, check_not_negative

# Where the cosine is 1 the angle has no derivative.
_SMALLEST_SQUARED_SINE = 1e-7


class AdditiveAngularMargin(Margin):
    """Widen the target's angle: cos(theta + m).

    Carried over: theta is the angle of an anchor and its positive. Where
    theta + m exceeds pi, so that the cosine would rise again, the target is
    cos(theta) - m sin(m), as in the authors' code.

    Arguments
    ---------
    margin : float
        m in radians, in [0, pi / 2].

    Source: J. Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition, CVPR 2019 (arXiv 1801.07698), equation 3.

    Example
    -------
    >>> targets, others = torch.tensor([[0.5]]), torch.zeros(1, 2)  # 60 degrees
    >>> margin = AdditiveAngularMargin(math.pi / 6)
    >>> margin(targets, others, norms=targets)[0].abs().round(decimals=4)
    tensor([[0.]])
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        check_not_negative("margin", margin, math.pi / 2)
        self.margin = margin

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a wider angle, and `others` itself."""
        return widened(targets, self.margin), others


class MultiplicativeAngularMargin(Margin):
    """Multiply the target's angle: psi(theta), which goes on falling.

    psi(theta) = (-1)^k cos(m theta) - 2 k, with k the whole number of times
    that pi fits into m theta.

    Carried over: theta is the angle of an anchor and its positive. Without
    the annealing towards the plain cosine that the authors train with, and
    with normalised vectors, as everywhere in a contrastive loss.

    Arguments
    ---------
    factor : float
        m, in [1, 4].

    Source: W. Liu et al., SphereFace: Deep Hypersphere Embedding for Face
    Recognition, CVPR 2017 (arXiv 1704.08063), section 3.

    Example
    -------
    >>> targets, others = torch.tensor([[0.5]]), torch.zeros(1, 2)  # 60 degrees
    >>> margin = MultiplicativeAngularMargin(2)
    >>> margin(targets, others, norms=targets)[0]  # of 120 degrees
    tensor([[-0.5000]])
    """

    def __init__(self, factor: float = 1.5) -> None:
        super().__init__()
        if not 1 <= factor <= 4:
            raise ValueError(f"factor must be between 1 and 4, got {factor}.")
        self.factor = factor

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a multiple of the angle, and `others` itself."""
        theta = self.factor * torch.atan2(sine(targets), targets)
        turns = (theta / math.pi).floor()
        sign = 1 - 2 * (turns % 2)
        return sign * theta.cos() - 2 * turns, others


def sine(cosines: Tensor) -> Tensor:
    """Sine of angles in [0, pi], given their cosines; never quite 0."""
    return (1 - cosines**2).clamp(min=_SMALLEST_SQUARED_SINE).sqrt()


def widened(cosines: Tensor, margin: float) -> Tensor:
    """Return cos(theta + margin); see `AdditiveAngularMargin` beyond pi."""
    wider = cosines * math.cos(margin) - sine(cosines) * math.sin(margin)
    within = cosines > math.cos(math.pi - margin)
    return torch.where(within, wider, cosines - margin * math.sin(margin))
