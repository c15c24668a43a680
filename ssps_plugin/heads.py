"""Heads between the encoder and an objective: MLP, DINO's head, prototypes."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.losses.objective_module import ObjectiveModule


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


class WeightNormalizedLinear(nn.Module):
    """A linear layer without bias whose rows have unit norm.

    With input on the sphere its outputs are cosines.

    Arguments
    ---------
    input_dim, output_dim : int
        Dimensions.

    Source: T. Salimans and D. Kingma, Weight Normalization, NeurIPS 2016, with
    the gain fixed at 1.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_dim, input_dim))
        # As torch's Linear, and so DINO's layer, is: of norm 0.58. Only
        # directions count, but longer rows turn more slowly, by their square.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, bottleneck: Tensor) -> Tensor:
        """Return `(..., output_dim)`."""
        return F.linear(bottleneck, F.normalize(self.weight, dim=1))


class DINOHead(nn.Module):
    """MLP to an L2-normalised bottleneck, and a weight-normalised output layer.

    Arguments
    ---------
    dims : sequence of int
        Embedding, hidden and bottleneck dimensions.
    num_outputs : int
        Dimensions of the distributions that are compared.

    Source: M. Caron et al., DINO, ICCV 2021 (arXiv 2104.14294), appendix C;
    dimensions of Lepage and Dehak (arXiv 2505.14561).

    Example
    -------
    >>> head = DINOHead([8, 16, 4], num_outputs=10)
    >>> embeddings = torch.randn(3, 8)
    >>> bottleneck = head.bottleneck(embeddings)
    >>> bool(torch.allclose(bottleneck.norm(dim=1), torch.ones(3)))
    True
    >>> bool(torch.equal(head.output(bottleneck), head(embeddings)))
    True
    """

    def __init__(self, dims: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.mlp = MLPHead(dims, activation=nn.GELU)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.output = WeightNormalizedLinear(dims[-1], num_outputs)

    def bottleneck(self, embeddings: Tensor) -> Tensor:
        """Return `(batch, bottleneck_dim)` of unit norm, float32."""
        return F.normalize(self.mlp(embeddings).float(), dim=-1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return outputs, `(batch, num_outputs)`."""
        outputs: Tensor = self.output(self.bottleneck(embeddings))
        return outputs


class Prototypes(ObjectiveModule):
    """Trainable directions; gives the cosines of features with them.

    An entry of `Brain.modules` of its own, called through it, so that parallel
    training sees its gradient. In training the rows are scaled to unit norm,
    in place, when it is called: as published, a step moves them off the sphere
    and the next call puts them back. (Scaling a copy at each use would let
    their norms grow under Adam, and slow them down.)

    Arguments
    ---------
    dim : int
        Dimension of the features.
    num_prototypes : int
        How many.
    frozen_epochs : int
        First epochs in which they do not move.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), section 3.1
    and appendix A.

    Example
    -------
    >>> prototypes = Prototypes(dim=2, num_prototypes=3)
    >>> bool(torch.allclose(prototypes.weight.norm(dim=1), torch.ones(3)))
    True
    >>> prototypes(torch.eye(2)[:1]).shape
    torch.Size([1, 3])
    """

    def __init__(
        self, dim: int, num_prototypes: int, frozen_epochs: int = 1
    ) -> None:
        super().__init__()
        if dim < 1 or num_prototypes < 2:
            raise ValueError(
                "Expected dim >= 1 and num_prototypes >= 2, got "
                f"{dim} and {num_prototypes}."
            )
        directions = F.normalize(torch.randn(num_prototypes, dim), dim=1)
        self.weight = nn.Parameter(directions)
        self.frozen_epochs = frozen_epochs
        self._frozen = False

    def forward(self, features: Tensor) -> Tensor:
        """Return cosines, `(..., num_prototypes)`.

        Arguments
        ---------
        features : torch.Tensor
            `(..., dim)`, of unit norm.
        """
        if not self.training:
            return F.linear(features, F.normalize(self.weight, dim=1))
        if not self._frozen:
            # By `data`: a second call in one step changes nothing but the last
            # bits, and must not spoil the first one's backward pass.
            self.weight.data.copy_(F.normalize(self.weight.data, dim=1))
        return F.linear(features, self.weight)

    def begin_epoch(self, epoch: int) -> None:
        """Decide whether the prototypes move in this epoch."""
        self._frozen = epoch <= self.frozen_epochs

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Return the prototypes during the first epochs."""
        return self.parameters() if self._frozen else ()
