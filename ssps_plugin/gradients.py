"""What is done to gradients between the backward pass and a step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class ClipPerParameter:
    """Scale every parameter's gradient to a norm of at most `max_norm`.

    Unlike clipping by the norm over all parameters, one large gradient leaves
    the others as they are.

    Arguments
    ---------
    max_norm : float
        Largest Euclidean norm of one parameter's gradient.

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
            raise ValueError(f"max_norm must be > 0, got {max_norm}.")
        self.max_norm = max_norm

    @torch.no_grad()
    def __call__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place; waits for no device."""
        gradients: list[Tensor] = [
            parameter.grad
            for parameter in parameters
            if parameter.grad is not None
        ]
        if not gradients:
            return
        # A few fused operations instead of several for every parameter.
        scales = torch.stack(torch._foreach_norm(gradients))
        scales = (self.max_norm / (scales + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(scales.unbind()))
