"""Partly whitened references: our addition, label-free, off by default."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Axes with less than this share of the largest variance are noise, or empty:
# whitening would blow them up.
_SMALLEST_VARIANCE = 1e-6
_CHUNK = 65536


class Whitening(nn.Module):
    """Damp the dominant axes of the references before comparing them.

    A few axes hold most of the variance of a self-supervised representation
    and dominate its cosines. The references are centred, each principal axis
    is divided by its standard deviation to the given power, and the result is
    L2-normalised again. The symmetric form (rotated back) is used: cosines do
    not depend on it, and centroids of two epochs stay comparable.

    Arguments
    ---------
    power : float
        In [0, 1]. 0 leaves references as they are (the published method), 1
        whitens fully.

    Example
    -------
    >>> references = torch.tensor([[0.9, 0.1], [0.9, -0.1], [-0.9, 0.1]])
    >>> whitening = Whitening(power=0.0)
    >>> whitening.allocate(2)
    >>> whitening.fit(references)
    >>> bool(torch.equal(whitening(references), references))
    True
    """

    mean: Tensor
    transform: Tensor

    def __init__(self, power: float) -> None:
        super().__init__()
        if not 0.0 <= power <= 1.0:
            raise ValueError(
                "whitening must lie in [0, 1] (0: as published, 1: full), "
                f"got {power}."
            )
        self.power = power
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("transform", torch.empty(0, 0))

    def allocate(self, dim: int) -> None:
        """Size the transform for references of `dim` dimensions."""
        if self.power > 0.0:
            self.mean = self.mean.new_zeros(dim)
            self.transform = torch.eye(dim, device=self.mean.device)

    def fit(self, references: Tensor) -> None:
        """Learn the axes from references `(num, dim)` of any float dtype."""
        if self.power == 0.0:
            return
        total = references.sum(0, dtype=torch.float64)
        mean = total / len(references)
        dim = references.shape[1]
        covariance = torch.zeros(dim, dim, device=mean.device).double()
        for chunk in references.split(_CHUNK):
            centred = chunk.float() - mean.float()
            covariance += (centred.T @ centred).double()
        variance, axes = torch.linalg.eigh(covariance / len(references))
        variance = variance.clamp(min=float(variance[-1]) * _SMALLEST_VARIANCE)
        scale = variance.clamp(min=1e-30) ** (-self.power / 2)
        self.mean.copy_(mean)
        self.transform.copy_((axes * scale) @ axes.T)

    def forward(self, references: Tensor) -> Tensor:
        """Transform references `(num, dim)`; float32, L2-normalised."""
        if self.power == 0.0:
            return references
        centred = references.float() - self.mean
        return F.normalize(centred @ self.transform, dim=-1)
