"""CurricularFace: hard negatives count more as training goes on."""

import math

import torch
from torch import Tensor

from ssps_plugin.losses.margins.angular import widened
from ssps_plugin.losses.margins.margin import (
    Margin,
    check_not_negative,
    finite_total,
)


class CurricularMargin(Margin):
    """Widen the target's angle, and weigh hard negatives by progress.

    The target becomes T = cos(theta + m). A negative that is nearer than that
    is hard: its cosine c becomes c (t + c). t, the running mean of the
    targets' cosines, starts at 0 and tells how far training has come.

    Carried over: a target is the cosine of an anchor and its positive, a hard
    negative one of another utterance. The mean is over the anchors of all
    ranks, so all hold one t; it moves in train mode only, before it is used.

    Arguments
    ---------
    margin : float
        m in radians, in [0, pi / 2].
    momentum : float
        Share of the old t that is kept, in [0, 1).

    Source: Y. Huang et al., CurricularFace: Adaptive Curriculum Learning Loss
    for Deep Face Recognition, CVPR 2020 (arXiv 2004.00288), section 3.

    Example
    -------
    >>> margin = CurricularMargin(0.0, momentum=0.0)
    >>> targets, others = torch.tensor([[0.5]]), torch.tensor([[0.2, 0.8]])
    >>> margin(targets, others, norms=targets)[1]  # 0.8 (0.5 + 0.8)
    tensor([[0.2000, 1.0400]])
    """

    t: Tensor

    def __init__(self, margin: float = 0.1, momentum: float = 0.99) -> None:
        super().__init__()
        check_not_negative("margin", margin, math.pi / 2)
        check_not_negative("momentum", momentum, 1.0)
        self.margin = margin
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a wider angle, and others with hard ones raised."""
        if self.training:
            self._advance(targets.detach())
        wider = widened(targets, self.margin)
        hard = others > wider.detach()
        return wider, torch.where(hard, others * (self.t + others), others)

    def _advance(self, targets: Tensor) -> None:
        """Move t by the cosines that are finite, if any are."""
        total, count = finite_total(targets)
        weight = (1 - self.momentum) * (count > 0)
        self.t.lerp_(total / count.clamp(min=1), weight)

    def figures(self) -> dict[str, float]:
        """Return t, the running mean of the targets' cosines."""
        return {"curricular_t": float(self.t)}
