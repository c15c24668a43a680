"""Prototypes: directions that features are assigned to."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.objective_module import ObjectiveModule


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
