"""Margins that make the cosines of positive pairs harder to raise."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.distributed import sum_over_ranks
from ssps_plugin.losses.objective_module import ObjectiveModule

# Where the cosine is 1 the angle has no derivative.
_SMALLEST_SQUARED_SINE = 1e-7


class Margin(ObjectiveModule):
    """Base of the margins: cosines in, cosines out, before the temperature.

    Margins come from classification, where the target is a class centre. In a
    contrastive loss there are none: the target is the cosine of an anchor and
    its positive, the others are its cosines with the negatives.

    A margin is the entry `margin` of `modules` and of the recoverables: so a
    running state is on the loss's device, in its mode, and in checkpoints. A
    checkpoint of another margin (of a warm start, most likely) leaves the
    running state at its start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_keep_own_state)

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the cosines that are compared.

        Arguments
        ---------
        targets : torch.Tensor
            `(..., 1)` float32, cosines of anchors and their positives.
        others : torch.Tensor
            `(..., n)`, cosines of anchors and what is not their positive.
        norms : torch.Tensor
            `(..., 1)`, norms of the anchors, without gradient.

        Returns
        -------
        tuple of torch.Tensor
            Targets and others, in their shapes.
        """
        raise NotImplementedError

    def get_extra_state(self) -> dict[str, Any]:
        """Nothing to add, said so: SpeechBrain warns of an empty state."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


class NoMargin(Margin):
    """Leave the cosines as they are.

    Example
    -------
    >>> import torch
    >>> targets, others = torch.ones(2, 1), torch.zeros(2, 3)
    >>> NoMargin()(targets, others, norms=targets)[0] is targets
    True
    """

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `targets` and `others` themselves."""
        return targets, others


def _keep_own_state(
    margin: nn.Module, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    own = {prefix + name: value for name, value in margin.named_buffers()}
    of_another = own.keys() != {
        name
        for name in state
        if name.startswith(prefix) and not name.endswith("_extra_state")
    }
    if of_another:
        for name in [name for name in state if name.startswith(prefix)]:
            if name not in own and not name.endswith("_extra_state"):
                del state[name]
        state.update(own)


def check_not_negative(name: str, value: float, limit: float) -> None:
    """Raise a ValueError unless `value` is in [0, limit]."""
    if not 0 <= value <= limit:
        raise ValueError(
            f"{name} must be between 0 and {limit:.4g}, got {value}."
        )


def finite_total(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, over all ranks, of the values that are finite, and their number.

    A step whose outputs overflow is left out by the optimiser; running
    statistics must not remember it either.
    """
    finite = values.isfinite()
    total = torch.where(finite, values, 0).sum()
    total, count = sum_over_ranks(torch.stack([total, finite.sum().to(total)]))
    return total, count


class AdditiveMargin(Margin):
    """Lower the target: cos(theta) - m.

    Carried over: the cosine of an anchor and its positive stands for that of
    a sample and its class centre; the negatives' cosines stay.

    Arguments
    ---------
    margin : float
        m, in [0, 2]; 0.1 as used with SSPS.

    Source: H. Wang et al., CosFace: Large Margin Cosine Loss for Deep Face
    Recognition, CVPR 2018 (arXiv 1801.09414), equation 4.

    Example
    -------
    >>> import torch
    >>> targets, others = torch.ones(1, 1), torch.zeros(1, 2)
    >>> AdditiveMargin(0.25)(targets, others, norms=targets)
    (tensor([[0.7500]]), tensor([[0., 0.]]))
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        check_not_negative("margin", margin, 2.0)
        self.margin = margin

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return lowered targets, and `others` itself."""
        return targets - self.margin, others


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

    def metrics(self) -> dict[str, float]:
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

    def metrics(self) -> dict[str, float]:
        """Return t, the running mean of the targets' cosines."""
        return {"curricular_t": float(self.t)}
