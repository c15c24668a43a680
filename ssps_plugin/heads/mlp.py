"""A multi-layer perceptron as projector."""

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn


class MLPHead(nn.Sequential):
    """Linear layers with batch norm and an activation between them.

    Arguments
    ---------
    dims : sequence of int
        Input, hidden and output dimensions, at least two.
    activation : callable
        Makes the activation, ReLU by default.

    Example
    -------
    >>> import torch
    >>> MLPHead([4, 8, 2])(torch.ones(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        dims: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        if len(dims) < 2:
            raise ValueError(
                "MLPHead expects at least an input and an output dimension, "
                f"got {list(dims)}."
            )
        *hidden, last = itertools.pairwise(dims)
        layers: list[nn.Module] = []
        for input_dim, output_dim in hidden:
            layers += [
                nn.Linear(input_dim, output_dim),
                nn.BatchNorm1d(output_dim),
                activation(),
            ]
        super().__init__(*layers, nn.Linear(*last))

    def forward(self, representations: Tensor) -> Tensor:
        """Project `(batch, input)` to `(batch, output)`."""
        projected: Tensor = super().forward(representations)
        return projected
