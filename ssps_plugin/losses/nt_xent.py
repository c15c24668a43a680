"""NT-Xent, the contrastive loss of SimCLR."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import is_above
from ssps_plugin.distributed import JointBatch, world_size
from ssps_plugin.losses.margins import Margin
from ssps_plugin.losses.objective_module import check_pairs


class NTXentLoss(nn.Module):
    """Normalised temperature-scaled cross entropy over both views.

    Each of the 2 · batch views must find its partner among all other views,
    those of the other ranks included. Computed in float32.

    Arguments
    ---------
    temperature : float
        Divides the cosines, greater than 0; 0.03 as published for SSPS.

    Raises
    ------
    ValueError
        A temperature that is not greater than 0.

    Source: T. Chen et al., A Simple Framework for Contrastive Learning of
    Visual Representations, ICML 2020 (arXiv 2002.05709), equation 1.

    Example
    -------
    >>> loss = NTXentLoss(temperature=1.0)
    >>> views = torch.eye(2)
    >>> round(loss(views, views).item(), 4)  # log(1 + 2 exp(-1))
    0.5514
    """

    def __init__(self, temperature: float = 0.03) -> None:
        super().__init__()
        if not is_above(0, temperature):
            raise ValueError(
                f"Expected temperature > 0, got {temperature}: change "
                "temperature."
            )
        self.temperature = temperature

    def forward(
        self,
        anchors: Tensor,
        positives: Tensor,
        groups: Tensor | None = None,
        positive_groups: Tensor | None = None,
        margin: Margin | None = None,
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            `(batch, dim)`, any float dtype.
        positives : torch.Tensor
            `(batch, dim)`, row i is the positive of anchor i.
        groups : torch.Tensor, optional
            `(batch,)` int64. Views of the same group (-1: no group) are left
            out of the denominator, except a view's own partner.
        positive_groups : torch.Tensor, optional
            `(batch,)` int64, for positives of other groups than their anchors;
            `groups` by default.
        margin : Margin, optional
            Makes the cosines of views and their partners harder to raise.

        Returns
        -------
        torch.Tensor
            0-d float32, the mean over views. Over ranks, the mean of the
            ranks' losses is the loss of the joint batch.

        Raises
        ------
        ValueError
            Anchors and positives of different shapes.
        """
        check_pairs(anchors, positives)
        with torch.autocast(anchors.device.type, enabled=False):
            if groups is not None:
                if positive_groups is None:
                    positive_groups = groups
                groups = torch.stack([groups, positive_groups], dim=1)
            pairs = torch.stack([anchors.float(), positives.float()], dim=1)
            return self._loss(pairs, groups, margin)

    def _loss(
        self, pairs: Tensor, groups: Tensor | None, margin: Margin | None
    ) -> Tensor:
        # pairs: (batch, 2, dim); groups: (batch, 2), of anchor and positive
        own = F.normalize(pairs, dim=-1)
        joint = JointBatch.of(own)
        gathered = joint.gather_with_gradient(own)  # (total, 2, dim)
        cosines = own.flatten(0, 1) @ gathered.flatten(0, 1).T
        # View 2i and 2i + 1 of a rank are partners: flip the last bit.
        views = torch.arange(2 * len(pairs), device=pairs.device)
        views = views + 2 * joint.start
        all_views = torch.arange(2 * len(joint), device=pairs.device)
        partners = views ^ 1
        excluded = views[:, None] == all_views
        if groups is not None:
            is_partner = partners[:, None] == all_views
            excluded = excluded | (_same_group(groups, joint) & ~is_partner)
        if margin is not None:
            norms = pairs.detach().norm(dim=-1).flatten()[:, None]
            targets = cosines.gather(1, partners[:, None])
            targets, cosines = margin(targets, cosines, norms)
            cosines = cosines.scatter(1, partners[:, None], targets)
        logits = (cosines / self.temperature).masked_fill(excluded, -torch.inf)
        loss = F.cross_entropy(logits, partners, reduction="sum")
        # Ranks are averaged with equal weight, whatever their batches.
        return loss * world_size() / (2 * len(joint))


def _same_group(groups: Tensor, joint: JointBatch) -> Tensor:
    """Return which views share a group, `(2 · batch, 2 · total)` bool."""
    (gathered,) = joint.gather(groups)
    own = groups.flatten()
    return (own[:, None] == gathered.flatten()) & (own >= 0)[:, None]
