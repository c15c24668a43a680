"""SDPN's loss: assignments to prototypes, and what keeps them spread out."""

import math

import torch
from torch import Tensor, nn

from ssps_plugin.checks import is_above, is_from_to
from ssps_plugin.distributed import (
    JointBatch,
    mean_over_joint_batch,
    sum_over_ranks_with_gradient,
)
from ssps_plugin.losses.swav import sinkhorn_codes
from ssps_plugin.losses.vicreg import without_diagonal

# Under logarithms and square roots, which have no finite slope at 0. Squares of
# distances and of deviations: of unit vectors, so far below what they are.
_OFFSET = 1e-12


class SDPNLoss(nn.Module):
    """Assign the student's views to prototypes as the teacher's are assigned.

    The terms, all over the joint batch of the ranks, in float32:

    - the cross entropy of every view of the student with every target;
    - entropy: how far the entropy of the student's mean prediction, over views
      and utterances, falls short of that of equal use of the prototypes;
    - diversity: minus the logarithm of the distance of each embedding from the
      nearest other one of the same view, the mean over all (KoLeo);
    - dimension: the Frobenius norm of the correlation matrix of the dimensions
      of the embeddings minus the identity, over their number (so the root mean
      square of the correlations), the mean over views.

    A target is the teacher's prediction, sharpened, then scaled by
    Sinkhorn-Knopp so that prototypes are used equally. It carries no gradient.

    Arguments
    ---------
    temperature : float
        Divides the cosines of the predictions, greater than 0.
    sharpening_temperature : float
        Targets are predictions to the power 1 / this, renormalised; greater
        than 0.
    num_iterations : int
        Iterations of Sinkhorn-Knopp, at least 1.
    entropy_weight, diversity_weight, dimension_weight : float
        Weights of the other terms, at least 0.

    Raises
    ------
    ValueError
        A number out of range.

    Source: Y. Chen et al., SDPN, ICASSP 2025 (arXiv 2308.02774); the last
    term, arXiv 2505.13826, whose weight is not known to us. KoLeo:
    A. Sablayrolles et al., ICLR 2019 (arXiv 1806.03198). Differs: nearest
    neighbours are looked for in the joint batch of the ranks.

    Example
    -------
    >>> from ssps_plugin.heads import Prototypes
    >>> prototypes = Prototypes(dim=2, num_prototypes=2, weight_norm=True)
    >>> _ = prototypes.weight.data.copy_(torch.eye(2))
    >>> loss = SDPNLoss(temperature=1.0, diversity_weight=0.0)
    >>> projections = torch.eye(2)[None]  # one view of each of two utterances
    >>> anchors = torch.cat([projections, projections], dim=-1)
    >>> # Targets are nearly one-hot; predictions, the softmax of (1, 0)
    >>> round(loss(anchors, projections, prototypes=prototypes).item(), 3)
    0.331
    """

    def __init__(
        self,
        temperature: float = 0.1,
        sharpening_temperature: float = 0.25,
        num_iterations: int = 3,
        entropy_weight: float = 1.0,
        diversity_weight: float = 0.1,
        dimension_weight: float = 0.0,
    ) -> None:
        super().__init__()
        temperatures = temperature, sharpening_temperature
        if not is_above(0, *temperatures) or not is_from_to(
            1, math.inf, num_iterations
        ):
            raise ValueError(
                "Expected temperature > 0, sharpening_temperature > 0 and "
                f"num_iterations >= 1, got {temperature}, "
                f"{sharpening_temperature} and {num_iterations}: change "
                "prediction_temperature, sharpening_temperature or "
                "num_sinkhorn_iterations."
            )
        for name, weight in (
            ("entropy_weight", entropy_weight),
            ("diversity_weight", diversity_weight),
            ("dimension_weight", dimension_weight),
        ):
            if not is_from_to(0, math.inf, weight):
                raise ValueError(
                    f"Expected {name} >= 0, got {weight}: change {name}."
                )
        self.temperature = temperature
        self.sharpening_temperature = sharpening_temperature
        self.num_iterations = num_iterations
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.dimension_weight = dimension_weight

    def forward(
        self, anchors: Tensor, positives: Tensor, prototypes: nn.Module
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            Of the student's views, `(num_views, batch, dim + embedding_dim)`,
            any float dtype: projections, then embeddings, each of unit norm,
            as `SDPN` returns them.
        positives : torch.Tensor
            The teacher's projections, `(num_targets, batch, dim)`, of unit
            norm, substituted or not.
        prototypes : torch.nn.Module
            `(..., dim) -> (..., num_prototypes)`, the cosines, such as
            `Prototypes`, with its wrapper of parallel training. Called once.

        Returns
        -------
        torch.Tensor
            0-d float32. Over ranks, the mean of the ranks' losses is the loss
            of the joint batch.

        Raises
        ------
        ValueError
            Shapes that do not fit, or a joint batch of one.
        """
        dim = positives.shape[-1]
        self._check_shapes(anchors, positives)
        with torch.autocast(anchors.device.type, enabled=False):
            embeddings = anchors[..., dim:].float()
            views = torch.cat([anchors[..., :dim], positives.detach()]).float()
            logits = prototypes(views) / self.temperature
            predictions = logits[: len(anchors)].log_softmax(-1)
            targets = self._targets(logits[len(anchors) :])
            # Every view is compared with every target: with their sum.
            agreement = (targets.sum(0) * predictions).sum()
            num_terms = predictions[..., 0].numel() * len(targets)
            loss = mean_over_joint_batch(-agreement, num_terms)
            if self.entropy_weight:
                loss = loss + self.entropy_weight * _lacking_entropy(
                    predictions
                )
            if self.diversity_weight or self.dimension_weight:
                loss = loss + self._spread(embeddings)
            return loss

    def _targets(self, logits: Tensor) -> Tensor:
        sharpened = logits.detach() / self.sharpening_temperature
        return sinkhorn_codes(
            sharpened.log_softmax(-1), 1.0, self.num_iterations
        )

    def _spread(self, embeddings: Tensor) -> Tensor:
        """Compute the terms of embeddings, `(num_views, batch, dim)`."""
        own = embeddings.transpose(0, 1)
        every = JointBatch.of(own).gather_with_gradient(own).transpose(0, 1)
        if every.shape[1] < 2:
            raise ValueError(
                "Expected at least two utterances in a step, of which each is "
                f"the other's neighbour, got {every.shape[1]}: raise "
                "global_batch_size."
            )
        total = every.new_zeros(())
        if self.diversity_weight:
            total = total + self.diversity_weight * _nearness(every)
        if self.dimension_weight:
            total = total + self.dimension_weight * _mean_correlation(every)
        return total

    def _check_shapes(self, anchors: Tensor, positives: Tensor) -> None:
        both = anchors.dim() == positives.dim() == 3
        if (
            not both
            or anchors.shape[1] != positives.shape[1]
            or anchors.shape[2] <= positives.shape[2]
        ):
            raise ValueError(
                "Expected anchors (num_views, batch, dim + embedding_dim) and "
                "positives (num_targets, batch, dim), got "
                f"{tuple(anchors.shape)} and {tuple(positives.shape)}: change "
                "framework or ssl_loss."
            )


def _lacking_entropy(predictions: Tensor) -> Tensor:
    """How far the mean of predictions, as logarithms, is from equal use."""
    rows = predictions.flatten(0, -2)
    ones = rows.new_full((1,), len(rows))
    totals = sum_over_ranks_with_gradient(torch.cat([rows.exp().sum(0), ones]))
    mean = (totals[:-1] / totals[-1]).clamp(min=torch.finfo(rows.dtype).tiny)
    return math.log(len(mean)) - torch.special.entr(mean).sum()


def _nearness(embeddings: Tensor) -> Tensor:
    """Mean of -log of the distance to the nearest other row of each view."""
    with torch.no_grad():
        # Of unit rows, the nearest has the largest cosine.
        cosines = embeddings @ embeddings.mT
        cosines.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
        nearest = cosines.argmax(-1, keepdim=True).expand_as(embeddings)
    squares = (embeddings - embeddings.gather(1, nearest)).square().sum(-1)
    return -(squares + _OFFSET).log().mean() / 2


def _mean_correlation(embeddings: Tensor) -> Tensor:
    """Frobenius norm of correlations but identity, over dim; mean of views."""
    centred = embeddings - embeddings.mean(1, keepdim=True)
    deviations = (centred.square().sum(1, keepdim=True) + _OFFSET).sqrt()
    standardised = centred / deviations
    correlations = standardised.mT @ standardised  # (num_views, dim, dim)
    squares = without_diagonal(correlations).square().sum((-2, -1))
    return (squares + _OFFSET).sqrt().mean() / correlations.shape[-1]
