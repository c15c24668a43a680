"""NT-Xent, the contrastive loss of SimCLR."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        Divides the cosines; 0.03 as published for SSPS.

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
        if temperature <= 0:
            raise ValueError(f"temperature must be > 0, got {temperature}.")
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
            out of the denominator, but for a view's own partner.
        positive_groups : torch.Tensor, optional
            `(batch,)` int64, where positives are of other groups than their
            anchors; as `groups` when left out.
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
                theirs = groups if positive_groups is None else positive_groups
                groups = torch.stack([groups, theirs], dim=1)
            pairs = torch.stack([anchors.float(), positives.float()], dim=1)
            return self._loss(pairs, groups, margin)

    def _loss(
        self, pairs: Tensor, groups: Tensor | None, margin: Margin | None
    ) -> Tensor:
        # pairs: (batch, 2, dim); groups: (batch, 2), of anchor and positive
        batch = len(pairs)
        own = F.normalize(pairs, dim=-1)
        joint = JointBatch.of(own)
        every = joint.gather_with_gradient(own)  # (total, 2, dim)
        total = len(joint)
        cosines = own.flatten(0, 1) @ every.flatten(0, 1).T
        # View 2i and 2i + 1 of a rank are partners: flip the last bit.
        views = torch.arange(2 * batch, device=pairs.device)
        views = views + 2 * joint.start
        every_view = torch.arange(2 * total, device=pairs.device)
        partners = views ^ 1
        hidden = views[:, None] == every_view
        if groups is not None:
            partner = partners[:, None] == every_view
            hidden = hidden | (_same_group(groups, joint) & ~partner)
        if margin is not None:
            norms = pairs.detach().norm(dim=-1).flatten()[:, None]
            targets = cosines.gather(1, partners[:, None])
            targets, cosines = margin(targets, cosines, norms)
            cosines = cosines.scatter(1, partners[:, None], targets)
        logits = (cosines / self.temperature).masked_fill(hidden, -torch.inf)
        loss = F.cross_entropy(logits, partners, reduction="sum")
        # Ranks are averaged with equal weight, whatever their batches.
        return loss * world_size() / (2 * total)


def _same_group(groups: Tensor, joint: JointBatch) -> Tensor:
    """Which views share a group, `(2 · batch, 2 · total)` bool."""
    (every,) = joint.gather(groups)
    own, every = groups.flatten(), every.flatten()
    return (own[:, None] == every) & (own >= 0)[:, None]
