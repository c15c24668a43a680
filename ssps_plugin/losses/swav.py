"""SwAV's loss: each view predicts the other's assignment."""

import torch
from torch import Tensor, nn

from ssps_plugin.distributed import mean_over_joint_batch, share_of_rank
from ssps_plugin.losses.pairs import check_pairs
from ssps_plugin.losses.sinkhorn import sinkhorn_codes


class SwAVLoss(nn.Module):
    """Swapped prediction of the views' assignments to prototypes.

    The assignments (codes) come from Sinkhorn-Knopp over the joint batch of
    the ranks, together with the features of past steps if a queue is given.
    Codes carry no gradient. Computed in float32.

    A positive without gradient (a pseudo-positive) still predicts the
    anchor's code: in that direction only the prototypes learn.

    Arguments
    ---------
    temperature : float
        Divides the cosines of the predictions.
    epsilon : float
        Entropy of the codes.
    num_iterations : int
        Of Sinkhorn-Knopp.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), equations 1
    to 5; settings of Lepage and Dehak (arXiv 2501.17772).

    Example
    -------
    >>> from ssps_plugin.heads import Prototypes
    >>> prototypes = Prototypes(dim=2, num_prototypes=2)
    >>> _ = prototypes.weight.data.copy_(torch.eye(2))
    >>> views, loss = torch.eye(2), SwAVLoss(temperature=1.0)
    >>> # Codes are one-hot: what is left is that of a softmax of (1, 0).
    >>> round(loss(views, views, prototypes=prototypes).item(), 4)
    0.3133
    """

    def __init__(
        self,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        num_iterations: int = 3,
    ) -> None:
        super().__init__()
        if temperature <= 0 or epsilon <= 0 or num_iterations < 1:
            raise ValueError(
                "Expected temperature > 0, epsilon > 0 and num_iterations >= "
                f"1, got {temperature}, {epsilon} and {num_iterations}."
            )
        self.temperature = temperature
        self.epsilon = epsilon
        self.num_iterations = num_iterations

    def forward(
        self,
        anchors: Tensor,
        positives: Tensor,
        prototypes: nn.Module,
        queue: nn.Module | None = None,
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            `(batch, dim)`, of unit norm, any float dtype.
        positives : torch.Tensor
            `(batch, dim)`, row i is the positive of anchor i.
        prototypes : torch.nn.Module
            `(..., dim) -> (..., num_prototypes)`, such as `Prototypes`, as it
            is wrapped for parallel training. Called once.
        queue : torch.nn.Module, optional
            `() -> (2, filled, dim)`, such as `FeatureQueue`: features of
            anchors and of positives, the same on every rank, that take part in
            the codes only.

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
            views = torch.stack([anchors.float(), positives.float()])
            features = views
            if queue is not None:
                # Each rank scores a share of what all of them hold.
                share = share_of_rank(queue(), dim=1)
                features = torch.cat([views, share], dim=1)
            return self._loss(prototypes(features), len(anchors))

    def _loss(self, scores: Tensor, batch: int) -> Tensor:
        # scores: (2, batch + share of the queue, num_prototypes)
        codes = sinkhorn_codes(scores, self.epsilon, self.num_iterations)
        logits = scores[:, :batch] / self.temperature
        agreement = codes[:, :batch].flip(0) * logits.log_softmax(-1)
        return mean_over_joint_batch(-agreement.sum(), 2 * batch)
