"""The contrastive loss of MoCo: a queue of negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.distributed import mean_over_joint_batch
from ssps_plugin.losses.margins import Margin
from ssps_plugin.losses.negative_queue import NegativeQueue


class MoCoLoss(nn.Module):
    """InfoNCE: find a query's key among the negatives of its direction.

    Averaged over both directions (queries of each view against keys of the
    other). Other keys of the step are no negatives. While the queue is empty
    there is nothing to tell apart: the loss is 0. Computed in float32.

    Arguments
    ---------
    temperature : float
        Divides the cosines; 0.03 as published for SSPS.

    Source: K. He et al., Momentum Contrast for Unsupervised Visual
    Representation Learning, CVPR 2020 (arXiv 1911.05722), equation 1; both
    directions and settings: Lepage and Dehak, SSPS, Interspeech 2025
    (arXiv 2505.14561).

    Example
    -------
    >>> negatives = NegativeQueue(size=4, dim=2)
    >>> loss = MoCoLoss(temperature=1.0)
    >>> queries = keys = torch.tensor([1.0, 0.0]).expand(2, 1, 2)
    >>> loss(queries, keys, negatives)  # no negatives yet
    tensor(0.)
    >>> negatives.update(torch.tensor([0.0, 1.0]).expand(2, 1, 2))
    >>> round(loss(queries, keys, negatives).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    def __init__(self, temperature: float = 0.03) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be > 0, got {temperature}.")
        self.temperature = temperature

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        negatives: NegativeQueue,
        groups: Tensor | None = None,
        positive_groups: Tensor | None = None,
        margin: Margin | None = None,
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        queries : torch.Tensor
            `(2, batch, dim)`, any float dtype.
        keys : torch.Tensor
            `(2, batch, dim)`, row by row the positives of the queries.
        negatives : NegativeQueue
            The keys of earlier steps; read only.
        groups : torch.Tensor, optional
            `(batch,)` int64, clusters of the anchors. Negatives of the
            anchor's cluster (-1: none) are left out.
        positive_groups : torch.Tensor, optional
            Not used here; the Brain hands it to `negatives.update`.
        margin : Margin, optional
            Makes the cosines of queries and keys harder to raise.

        Returns
        -------
        torch.Tensor
            0-d float32, the mean over queries. Over ranks, the mean of the
            ranks' losses is the loss of the joint batch.

        Raises
        ------
        ValueError
            Queries and keys of different shapes, or not of two directions.
        """
        if queries.shape != keys.shape or queries.dim() != 3:
            raise ValueError(
                "Expected queries and keys of one shape (2, batch, dim), got "
                f"{tuple(queries.shape)} and {tuple(keys.shape)}."
            )
        with torch.autocast(queries.device.type, enabled=False):
            queries, keys = queries.float(), keys.float()
            norms = queries.detach().norm(dim=-1, keepdim=True)
            queries = F.normalize(queries, dim=-1)
            # (2, batch, 1) and (2, batch, size)
            targets = (queries * F.normalize(keys, dim=-1)).sum(-1, True)
            others, hidden = negatives(queries, groups)
            if margin is not None:
                targets, others = margin(targets, others, norms)
            return self._loss(targets, others.masked_fill(hidden, -torch.inf))

    def _loss(self, targets: Tensor, others: Tensor) -> Tensor:
        logits = torch.cat([targets, others], dim=-1) / self.temperature
        logits = logits.flatten(0, 1)
        first = logits.new_zeros(len(logits), dtype=torch.long)
        loss = F.cross_entropy(logits, first, reduction="sum")
        return mean_over_joint_batch(loss, len(logits))
