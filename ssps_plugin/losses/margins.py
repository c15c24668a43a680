"""Margins that make the cosines of positive pairs harder to raise.

`NTXentLoss` and `MoCoLoss` apply a margin to their cosines, before they divide
them by the temperature.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.checks import is_above, is_from_to
from ssps_plugin.distributed import sum_over_ranks
from ssps_plugin.losses.objective_module import ObjectiveModule

# The angle has no derivative where the cosine is 1.
_SMALLEST_SQUARED_SINE = 1e-7
# Keeps norms finite that are divided by their standard deviation, which is 0
# where all are equal; the value of AdaFace's authors.
_DEVIATION_OFFSET = 1e-3


class Margin(ObjectiveModule):
    """Base of the margins, which map cosines to cosines.

    Margins come from classification, where a target is the cosine of a sample
    and its class centre. A contrastive loss has no class centres: the target is
    the cosine of an anchor and its positive, and the others are its cosines
    with the negatives.

    A margin is the entry `margin` of `modules` and of the recoverables. So its
    running state is on the loss's device, in its mode, and in checkpoints. A
    checkpoint of another kind of margin, as in a warm start, does not change
    the running state.
    """

    moved_by_forward = True

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_keep_own_state)

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Apply the margin to cosines.

        Arguments
        ---------
        targets : torch.Tensor
            `(..., 1)` float32, cosines of anchors and their positives.
        others : torch.Tensor
            `(..., n)` float32, cosines of anchors and other views.
        norms : torch.Tensor
            `(..., 1)` float32, norms of the anchors, without gradient.

        Returns
        -------
        tuple of torch.Tensor
            Targets and others, in their shapes.
        """
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """Return an empty tensor: SpeechBrain warns of an empty state."""
        return torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Do nothing: the extra state is empty."""


class NoMargin(Margin):
    """Leave the cosines as they are.

    Example
    -------
    >>> targets, others = torch.ones(2, 1), torch.zeros(2, 3)
    >>> NoMargin()(targets, others, norms=targets)[0] is targets
    True
    """

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `targets` and `others` themselves."""
        return targets, others


class AdditiveMargin(Margin):
    """Lower the target: cos(theta) - m.

    Carried over: theta is the angle of an anchor and its positive. The
    negatives' cosines do not change.

    Arguments
    ---------
    margin : float
        m, in [0, 2]; 0.1 as used with SSPS.

    Raises
    ------
    ValueError
        A margin out of range.

    Source: H. Wang et al., CosFace: Large Margin Cosine Loss for Deep Face
    Recognition, CVPR 2018 (arXiv 1801.09414), equation 4.

    Example
    -------
    >>> targets, others = torch.ones(1, 1), torch.zeros(1, 2)
    >>> AdditiveMargin(0.25)(targets, others, norms=targets)
    (tensor([[0.7500]]), tensor([[0., 0.]]))
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        _check_range("margin", margin, 2.0)
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

    Raises
    ------
    ValueError
        A margin out of range.

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
        _check_range("margin", margin, math.pi / 2)
        self.margin = margin

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a wider angle, and `others` itself."""
        return _widen(targets, self.margin), others


class MultiplicativeAngularMargin(Margin):
    """Multiply the target's angle: psi(theta) in place of cos(theta).

    psi(theta) = (-1)^k cos(m theta) - 2 k, with k the whole number of times
    that pi fits into m theta: so psi falls over the whole range of theta.

    Carried over: theta is the angle of an anchor and its positive. Differs:
    vectors are normalised, as everywhere in a contrastive loss, and there is
    no annealing towards the plain cosine.

    Arguments
    ---------
    factor : float
        m, in [1, 4].

    Raises
    ------
    ValueError
        A factor out of range.

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
        if not is_from_to(1, 4, factor):
            raise ValueError(
                f"Expected factor between 1 and 4, got {factor}: change margin."
            )
        self.factor = factor

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a multiple of the angle, and `others` itself."""
        theta = self.factor * torch.atan2(_sine(targets), targets)
        turns = (theta / math.pi).floor()
        sign = 1 - 2 * (turns % 2)
        return sign * theta.cos() - 2 * turns, others


class AdaptiveMargin(Margin):
    """Adapt the margin to the anchor's norm, a measure of its quality.

    The quality q is the anchor's norm, standardised by running statistics,
    times `concentration`, clamped to [-1, 1]. The target is
    cos(theta - m q) - (m q + m): the worst anchors (q = -1) get ArcFace's
    margin, average ones (q = 0) CosFace's. The angle stays in [0, pi].

    Carried over: theta is the angle of an anchor and its positive, and the norm
    is the anchor's. A positive's norm is not used, but NT-Xent takes every view
    as anchor in turn. The statistics are over the anchors of all ranks. They
    are updated in train mode only, before they are used. Not for
    `CentroidSampling` with NT-Xent, where half of the anchors would be
    centroids of norm 1. Differs: the statistics start as those of the first
    step, not at the authors' constants.

    Arguments
    ---------
    margin : float
        m, in [0, pi / 2].
    concentration : float
        h, greater than 0: scales the standardised norms before they are
        clamped to [-1, 1].
    momentum : float
        Fraction of the old statistics that a step keeps, in [0, 1].

    Raises
    ------
    ValueError
        A number out of range.

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
        _check_range("margin", margin, math.pi / 2)
        _check_range("momentum", momentum, 1.0)
        if not is_above(0, concentration):
            raise ValueError(
                f"Expected concentration > 0, got {concentration}: change "
                "margin."
            )
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
            self._update_statistics(norms)
        quality = (norms - self.mean) / (self.deviation + _DEVIATION_OFFSET)
        quality = (quality * self.concentration).clamp(-1, 1)
        turned = _turn(targets, -self.margin * quality)
        return turned - self.margin * (quality + 1), others

    def metrics(self) -> dict[str, float]:
        """Return mean and standard deviation of the anchors' norms."""
        return {
            "norm_mean": float(self.mean),
            "norm_deviation": float(self.deviation),
        }

    def _update_statistics(self, norms: Tensor) -> None:
        finite = norms.isfinite()
        total, count = _sum_finite_over_ranks(norms)
        mean = total / count.clamp(min=1)
        squares = torch.where(finite, (norms - mean) ** 2, 0).sum()
        variance = sum_over_ranks(squares) / (count - 1).clamp(min=1)
        weight = torch.where(self.num_updates == 0, 1.0, 1 - self.momentum)
        weight = weight * (count > 0)
        self.mean.lerp_(mean, weight)
        self.deviation.lerp_(variance.sqrt(), weight)
        self.num_updates += count > 0


class CurricularMargin(Margin):
    """Widen the target's angle, and weight hard negatives by progress.

    The target becomes T = cos(theta + m). A negative is hard if its cosine c is
    greater than T: c becomes c (t + c). t is the running mean of the targets'
    cosines. It starts at 0 and measures the progress of the training.

    Carried over: theta is the angle of an anchor and its positive, and a
    negative is another utterance. The mean is over the anchors of all ranks, so
    t is the same on every rank. It is updated in train mode only, before it is
    used.

    Arguments
    ---------
    margin : float
        m in radians, in [0, pi / 2].
    momentum : float
        Fraction of the old t that a step keeps, in [0, 1].

    Raises
    ------
    ValueError
        A number out of range.

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
        _check_range("margin", margin, math.pi / 2)
        _check_range("momentum", momentum, 1.0)
        self.margin = margin
        self.momentum = momentum
        self.register_buffer("t", torch.zeros(()))

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return targets at a wider angle, and others with hard ones raised."""
        if self.training:
            self._update_t(targets.detach())
        wider = _widen(targets, self.margin)
        hard = others > wider.detach()
        return wider, torch.where(hard, others * (self.t + others), others)

    def metrics(self) -> dict[str, float]:
        """Return t, the running mean of the targets' cosines."""
        return {"curricular_t": float(self.t)}

    def _update_t(self, targets: Tensor) -> None:
        total, count = _sum_finite_over_ranks(targets)
        weight = (1 - self.momentum) * (count > 0)
        self.t.lerp_(total / count.clamp(min=1), weight)


def _keep_own_state(
    margin: nn.Module, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Replace the saved buffers of another kind of margin by its own."""
    own = {prefix + name: value for name, value in margin.named_buffers()}
    saved = {
        name
        for name in state
        if name.startswith(prefix) and not name.endswith("_extra_state")
    }
    if saved != own.keys():
        for name in saved - own.keys():
            del state[name]
        state.update(own)


def _check_range(name: str, value: float, limit: float) -> None:
    if not is_from_to(0, limit, value):
        raise ValueError(
            f"Expected {name} between 0 and {limit:.4g}, got {value}: change "
            "margin."
        )


def _widen(cosines: Tensor, margin: float) -> Tensor:
    """Return cos(theta + margin); beyond pi see `AdditiveAngularMargin`."""
    wider = cosines * math.cos(margin) - _sine(cosines) * math.sin(margin)
    within = cosines > math.cos(math.pi - margin)
    return torch.where(within, wider, cosines - margin * math.sin(margin))


def _turn(cosines: Tensor, angles: Tensor) -> Tensor:
    """Return cos(theta + angle), with the sum clamped to [0, pi]."""
    turned = cosines * angles.cos() - _sine(cosines) * angles.sin()
    # theta + angle < 0 where cos(theta) > cos(angle), for a negative angle.
    below = (angles < 0) & (cosines > angles.cos())
    above = (angles > 0) & (cosines < -angles.cos())
    return turned.masked_fill(below, 1.0).masked_fill(above, -1.0)


def _sine(cosines: Tensor) -> Tensor:
    """Return sines, greater than 0, of angles in [0, pi] from their cosines."""
    return (1 - cosines**2).clamp(min=_SMALLEST_SQUARED_SINE).sqrt()


def _sum_finite_over_ranks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum and number of the finite values of all ranks.

    The optimiser skips a step whose outputs overflow, so running statistics
    must not include it either.
    """
    finite = values.isfinite()
    total = torch.where(finite, values, 0).sum()
    total, count = sum_over_ranks(torch.stack([total, finite.sum().to(total)]))
    return total, count
