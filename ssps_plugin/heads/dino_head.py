"""DINO's head: a bottleneck on the sphere, and many outputs."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.heads.mlp import MLPHead


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
