"""Heads between encoder and objective: MLPs, DINO's head, prototypes."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import check_flag
from ssps_plugin.losses.objective_module import ObjectiveModule


class MLPHead(nn.Sequential):
    """Project by linear layers, with batch norm and activations between them.

    Arguments
    ---------
    dims : sequence of int
        Input, hidden and output dimensions, at least two.
    activation : callable
        Makes an activation, ReLU by default.

    Raises
    ------
    ValueError
        Fewer than two dimensions.

    Example
    -------
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
                "Expected at least an input and an output dimension, got "
                f"{list(dims)}: change dims of MLPHead."
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


def _make_gelu_mlp(dims: Sequence[int]) -> MLPHead:
    """Make the MLP of DINO's and SDPN's heads, with their first weights."""
    mlp = MLPHead(dims, activation=nn.GELU)
    for layer in mlp:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return mlp


class WeightNormalizedLinear(nn.Module):
    """Apply a linear layer without bias whose rows have unit norm.

    Its outputs are cosines if its inputs have unit norm.

    Arguments
    ---------
    input_dim, output_dim : int
        Dimensions of inputs and outputs.

    Source: T. Salimans and D. Kingma, Weight Normalization, NeurIPS 2016, with
    the gain fixed at 1.

    Example
    -------
    >>> layer = WeightNormalizedLinear(input_dim=2, output_dim=1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> layer(torch.tensor([[1.0, 0.0]])).detach()
    tensor([[0.6000]])
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        # As DINO's layer. Only the directions of its rows count, but a step
        # turns longer rows less, by the square of their norm.
        self.weight = nn.Parameter(
            _initial_linear_weight(input_dim, output_dim)
        )

    def forward(self, bottleneck: Tensor) -> Tensor:
        """Map `(..., input_dim)` to `(..., output_dim)`."""
        return F.linear(bottleneck, F.normalize(self.weight, dim=1))


class DINOHead(nn.Module):
    """Project by an MLP, a normalised bottleneck and a weight-normalised layer.

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
        self.mlp = _make_gelu_mlp(dims)
        self.output = WeightNormalizedLinear(dims[-1], num_outputs)

    def bottleneck(self, embeddings: Tensor) -> Tensor:
        """Compute bottlenecks, `(batch, bottleneck_dim)` float32, of unit norm.

        Arguments
        ---------
        embeddings : torch.Tensor
            `(batch, embedding_dim)`.
        """
        return F.normalize(self.mlp(embeddings).float(), dim=-1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute outputs, `(batch, num_outputs)`, of embeddings."""
        outputs: Tensor = self.output(self.bottleneck(embeddings))
        return outputs


class SDPNHead(nn.Module):
    """Project by an MLP onto the unit sphere.

    It is DINO's head without the output layer, in whose place there are
    prototypes that student and teacher share.

    Arguments
    ---------
    dims : sequence of int
        Embedding, hidden and projection dimensions.

    Source: Y. Chen et al., SDPN, ICASSP 2025 (arXiv 2308.02774).

    Example
    -------
    >>> projections = SDPNHead([8, 16, 4])(torch.randn(3, 8))
    >>> bool(torch.allclose(projections.norm(dim=1), torch.ones(3)))
    True
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.mlp = _make_gelu_mlp(dims)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project `(batch, embedding_dim)` to `(batch, dim)` of unit norm.

        Float32, also under autocast.
        """
        return F.normalize(self.mlp(embeddings).float(), dim=-1)


class Prototypes(ObjectiveModule):
    """Compare features with trainable prototypes, by cosines.

    It is an entry of `Brain.modules` of its own, so that parallel training sees
    its gradient. In training, a call scales the rows to unit norm, in place: as
    in the code of Caron et al., a step moves them off the sphere and the next
    call puts them back.

    With `weight_norm`, as in the code of Lepage and Dehak, the rows are those
    of a weight-normed linear layer with the gain fixed at 1: a call scales a
    copy, so that the gradient is tangential and divided by a row's norm. A step
    of SGD then turns a row by 1 / norm² of what it turns a unit row, one of
    Adam by 1 / norm. Rows start at a norm of 0.58, so they turn 3 and 1.7 times
    as far at first; as they turn they get longer, and so slower.

    Arguments
    ---------
    dim : int
        Dimension of the features, at least 1.
    num_prototypes : int
        Number of prototypes, at least 2.
    frozen_epochs : int
        First epochs in which they do not move.
    weight_norm : bool
        Rows of a weight-normed linear layer, instead of unit norm.

    Raises
    ------
    ValueError
        A size out of range.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), section 3.1
    and appendix A; T. Salimans and D. Kingma, Weight Normalization, NeurIPS
    2016, section 2.

    Example
    -------
    >>> prototypes = Prototypes(dim=2, num_prototypes=3)
    >>> bool(torch.allclose(prototypes.weight.norm(dim=1), torch.ones(3)))
    True
    >>> prototypes(torch.eye(2)[:1]).shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        dim: int,
        num_prototypes: int,
        frozen_epochs: int = 1,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        if dim < 1 or num_prototypes < 2:
            raise ValueError(
                "Expected dim >= 1 and num_prototypes >= 2, got "
                f"{dim} and {num_prototypes}: change projection_dim "
                "(bottleneck_dim for SDPN) or num_prototypes."
            )
        check_flag("weight_norm", weight_norm)
        if weight_norm:
            rows = _initial_linear_weight(dim, num_prototypes)
        else:
            rows = F.normalize(torch.randn(num_prototypes, dim), dim=1)
        self.weight = nn.Parameter(rows)
        self.weight_norm = weight_norm
        self.moved_by_forward = not weight_norm  # scaled where it is called
        self.frozen_epochs = frozen_epochs
        self._frozen = False

    def forward(self, features: Tensor) -> Tensor:
        """Compute the cosines of features and prototypes.

        Arguments
        ---------
        features : torch.Tensor
            `(..., dim)`, of unit norm.

        Returns
        -------
        torch.Tensor
            `(..., num_prototypes)`, with gradient.
        """
        if self.weight_norm or not self.training:
            return F.linear(features, F.normalize(self.weight, dim=1))
        if not self._frozen:
            # By `data`: a second call in a step changes only the last bits,
            # and must not invalidate the backward pass of the first.
            self.weight.data.copy_(F.normalize(self.weight.data, dim=1))
        return F.linear(features, self.weight)

    def begin_epoch(self, epoch: int) -> None:
        """Freeze the prototypes in the first epochs."""
        self._frozen = epoch <= self.frozen_epochs

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Return the prototypes in the first epochs."""
        return self.parameters() if self._frozen else ()

    def undecayed_parameters(self) -> Iterable[nn.Parameter]:
        """Return the prototypes, if a decay would let them turn faster."""
        return self.parameters() if self.weight_norm else ()


def _initial_linear_weight(input_dim: int, output_dim: int) -> Tensor:
    """Draw a weight as torch's Linear does: its rows have norm 0.58."""
    weight = torch.empty(output_dim, input_dim)
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
