"""Momentum networks: exponential moving averages of a trained network."""

import copy
import math
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssps_plugin.frameworks.framework import Framework

Module = TypeVar("Module", bound=nn.Module)


class MomentumSchedule:
    """Schedule the momentum over the training, by a cosine.

    Arguments
    ---------
    initial : float
        Momentum at the start, in [0, 1].
    final : float, optional
        Momentum at the end, in [0, 1]; `initial` by default.

    Raises
    ------
    ValueError
        A momentum out of range.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294), section 3.1.

    Example
    -------
    >>> momentum = MomentumSchedule(0.996, 1.0)
    >>> [round(momentum(progress), 4) for progress in (0.0, 0.5, 1.0)]
    [0.996, 0.998, 1.0]
    """

    def __init__(self, initial: float, final: float | None = None) -> None:
        final = initial if final is None else final
        if not (0 <= initial <= 1 and 0 <= final <= 1):
            raise ValueError(
                f"Expected momentum between 0 and 1, got {initial} and "
                f"{final}: change ema_momentum."
            )
        self.initial = initial
        self.final = final

    def __call__(self, progress: float) -> float:
        """Return the momentum after a fraction of the training, in [0, 1]."""
        risen = (1 - math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
        return self.initial + (self.final - self.initial) * risen


def make_momentum_copy(student: Module, buffers: bool = False) -> Module:
    """Copy a network, and take the copy's parameters out of the training.

    Arguments
    ---------
    student : torch.nn.Module
        The trained network.
    buffers : bool
        `update_momentum` will average buffers: the copy's own batches leave
        its running statistics as they are.

    Returns
    -------
    torch.nn.Module
        The copy. In train mode it normalises by its batch, in any case.
    """
    teacher = copy.deepcopy(student).requires_grad_(False)
    if buffers:
        for module in teacher.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = 0.0
    return teacher


@torch.no_grad()
def update_momentum(
    teacher: nn.Module,
    student: nn.Module,
    momentum: float,
    buffers: bool = False,
) -> None:
    """Move a momentum network towards its student: t <- m t + (1 - m) s.

    Arguments
    ---------
    teacher, student : torch.nn.Module
        The momentum network and the trained one, of one structure.
    momentum : float
        m, in [0, 1].
    buffers : bool
        Average floating-point buffers (running statistics) too, and copy the
        other buffers, of a teacher made so. As published, a teacher in train
        mode has its own.

    Example
    -------
    >>> student = nn.Linear(1, 1, bias=False)
    >>> teacher = make_momentum_copy(student)
    >>> _ = nn.init.zeros_(teacher.weight), nn.init.ones_(student.weight)
    >>> update_momentum(teacher, student, momentum=0.75)
    >>> teacher.weight.item()
    0.25
    """
    _lerp(list(teacher.parameters()), list(student.parameters()), momentum)
    if buffers:
        pairs = list(zip(teacher.buffers(), student.buffers(), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        _lerp([t for t, _ in averaged], [s for _, s in averaged], momentum)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)


class MomentumFramework(Framework):
    """Base of frameworks with momentum networks, which follow trained ones."""

    momentum: MomentumSchedule
    average_buffers: bool

    def momentum_pairs(self) -> Iterable[tuple[nn.Module, nn.Module]]:
        """Return each momentum network, and the one that it follows."""
        raise NotImplementedError

    @property
    def final_momentum(self) -> float:
        """Momentum at the end of its schedule; at 1 nothing moves any more."""
        return self.momentum(1.0)

    def update(self, progress: float) -> None:
        """Move the momentum networks, after a real step of the optimiser.

        Arguments
        ---------
        progress : float
            Fraction of the training that is done, in [0, 1].
        """
        momentum = self.momentum(progress)
        for teacher, student in self.momentum_pairs():
            update_momentum(teacher, student, momentum, self.average_buffers)


def _lerp(
    teacher: list[Tensor], student: list[Tensor], momentum: float
) -> None:
    if teacher:  # one fused operation over all of them
        torch._foreach_lerp_(teacher, student, 1 - momentum)
