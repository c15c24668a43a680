"""Schedules of the learning rate, and gradient clipping."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class StepDecay:
    """Multiply the learning rate by a factor every few epochs.

    Arguments
    ---------
    initial : float
        Learning rate of the first epochs.
    factor : float
        Multiplier.
    interval_epochs : int
        Epochs between two decays.

    Raises
    ------
    ValueError
        A number for which there is no such schedule.

    Example
    -------
    >>> learning_rate = StepDecay(1.0, factor=0.5, interval_epochs=2)
    >>> [learning_rate(passed) for passed in (0, 1, 1.9, 2, 3, 4)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, initial: float, factor: float = 1.0, interval_epochs: int = 1
    ) -> None:
        if initial <= 0 or factor <= 0 or interval_epochs < 1:
            raise ValueError(
                "Expected initial > 0, factor > 0 and interval_epochs >= 1, "
                f"got {initial}, {factor} and {interval_epochs}: change lr, "
                "lr_factor or lr_interval_epochs."
            )
        self.initial = initial
        self.factor = factor
        self.interval_epochs = interval_epochs

    def __call__(self, epochs_passed: float) -> float:
        """Return the learning rate after a number of epochs.

        Arguments
        ---------
        epochs_passed : float
            Epochs since the start, with the fraction of the present one.

        Returns
        -------
        float
        """
        num_decays = math.floor(epochs_passed / self.interval_epochs)
        return float(self.initial * self.factor**num_decays)


class WarmupCosine:
    """Raise the learning rate linearly, then lower it along a cosine.

    The cosine begins after the warm-up and is `cosine_epochs` long. Training
    may end before the cosine does: the published DINO runs warm up for 10
    epochs, then follow a cosine over 100 epochs for the other 90.

    Arguments
    ---------
    peak : float
        Highest learning rate, at the end of the warm-up.
    final : float
        Learning rate at the end of the cosine, and after it.
    warmup_epochs : float
        Length of the warm-up from 0; 0 for none.
    cosine_epochs : float
        Length of the cosine.

    Raises
    ------
    ValueError
        A number for which there is no such schedule.

    Source: the authors' DINO configuration (Lepage and Dehak, arXiv
    2505.14561).

    Example
    -------
    >>> learning_rate = WarmupCosine(0.2, 1e-5, 10, 100)
    >>> [round(learning_rate(passed), 4) for passed in (0, 5, 10, 80, 100)]
    [0.0, 0.1, 0.2, 0.0412, 0.0049]
    """

    def __init__(
        self,
        peak: float,
        final: float,
        warmup_epochs: float,
        cosine_epochs: float,
    ) -> None:
        if not 0 <= final <= peak or warmup_epochs < 0 or cosine_epochs <= 0:
            raise ValueError(
                "Expected 0 <= final <= peak, warmup_epochs >= 0 and "
                f"cosine_epochs > 0, got {final}, {peak}, {warmup_epochs} and "
                f"{cosine_epochs}: change lr, final_lr, warmup_epochs or "
                "cosine_epochs."
            )
        self.peak = peak
        self.final = final
        self.warmup_epochs = warmup_epochs
        self.cosine_epochs = cosine_epochs

    def __call__(self, epochs_passed: float) -> float:
        """Return the learning rate after a number of epochs.

        Arguments
        ---------
        epochs_passed : float
            Epochs since the start, with the fraction of the present one.

        Returns
        -------
        float
        """
        if epochs_passed < self.warmup_epochs:
            return self.peak * epochs_passed / self.warmup_epochs
        fraction = (epochs_passed - self.warmup_epochs) / self.cosine_epochs
        height = (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
        return self.final + (self.peak - self.final) * height


class ClipPerParameter:
    """Scale every parameter's gradient to a norm of at most `max_norm`.

    Unlike clipping by the norm over all parameters, one large gradient leaves
    the others as they are.

    Arguments
    ---------
    max_norm : float
        Largest Euclidean norm of one parameter's gradient.

    Raises
    ------
    ValueError
        `max_norm` is not above 0.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294).

    Example
    -------
    >>> weight = nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> ClipPerParameter(max_norm=1.0)([weight])
    >>> [round(value, 3) for value in weight.grad.tolist()]
    [0.6, 0.8]
    """

    def __init__(self, max_norm: float) -> None:
        if not max_norm > 0:
            raise ValueError(
                f"Expected max_norm > 0, got {max_norm}: change "
                "max_parameter_grad_norm."
            )
        self.max_norm = max_norm

    @torch.no_grad()
    def __call__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place, without waiting for the GPU.

        Arguments
        ---------
        parameters : iterable of torch.nn.Parameter
            Those without a gradient are left out.
        """
        gradients: list[Tensor] = [
            parameter.grad
            for parameter in parameters
            if parameter.grad is not None
        ]
        if not gradients:
            return
        # A few fused operations instead of several for every parameter.
        norms = torch.stack(torch._foreach_norm(gradients))
        scales = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(scales.unbind()))


def give_own_group(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[nn.Parameter],
    lr_scale: float = 1.0,
    weight_decay: float | None = None,
) -> None:
    """Move parameters to groups of their own, with settings of their own.

    The groups keep the other settings, and have `lr_scale`: who sets learning
    rates multiplies by it.

    Arguments
    ---------
    optimizer : torch.optim.Optimizer
        New: it has taken no step. It is changed in place.
    parameters : iterable of torch.nn.Parameter
        Those to move.
    lr_scale : float
        Their learning rate, by that of the others.
    weight_decay : float, optional
        Theirs; that of the others by default.

    Example
    -------
    >>> front_end, encoder = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(
    ...     [*front_end.parameters(), *encoder.parameters()], lr=1.0
    ... )
    >>> give_own_group(optimizer, front_end.parameters(), lr_scale=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [1.0, 0.1]
    """
    moved = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        own = [p for p in group["params"] if id(p) in moved]
        if not own:
            continue
        group["params"] = [p for p in group["params"] if id(p) not in moved]
        others = {key: group[key] for key in group if key != "params"}
        others["lr"] = group["lr"] * lr_scale
        if weight_decay is not None:
            others["weight_decay"] = weight_decay
        optimizer.add_param_group(
            {**others, "params": own, "lr_scale": lr_scale}
        )
