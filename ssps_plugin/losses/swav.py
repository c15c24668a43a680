"""SwAV's loss, its codes by Sinkhorn-Knopp, and its queue of features."""

import torch
from torch import Tensor, nn

from ssps_plugin.distributed import (
    gather_rows,
    log_sum_exp_over_ranks,
    mean_over_joint_batch,
    share_of_rank,
)
from ssps_plugin.losses.objective_module import ObjectiveModule, check_pairs

_ANCHORS, _POSITIVES = 0, 1


@torch.no_grad()
def sinkhorn_codes(
    scores: Tensor, epsilon: float, num_iterations: int
) -> Tensor:
    """Assign every row to prototypes so that all are used alike.

    Rows of the other ranks count as if they were in the same batch. Computed
    in the logarithm, so that no scale of the scores overflows.

    Arguments
    ---------
    scores : torch.Tensor
        `(..., rows, num_prototypes)`, similarities; leading dimensions are
        problems of their own. Ranks may bring rows in unequal numbers.
    epsilon : float
        Entropy of the assignments: smaller is harder.
    num_iterations : int
        Times that prototypes, then rows, are scaled to equal sums.

    Returns
    -------
    torch.Tensor
        As `scores`, float32, without gradient. Each row sums to 1; the columns
        approach equal sums with the iterations.

    Source: M. Cuturi, Sinkhorn Distances, NeurIPS 2013; M. Caron et al., SwAV,
    NeurIPS 2020 (arXiv 2006.09882), section 3.1 and appendix A.

    Example
    -------
    >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.5]])  # both like the first
    >>> codes = sinkhorn_codes(scores, epsilon=0.05, num_iterations=50)
    >>> codes.round(decimals=1).abs().tolist()  # but one takes the second
    [[1.0, 0.0], [0.0, 1.0]]
    """
    log_codes = scores.detach().float() / epsilon
    for _ in range(num_iterations):
        own_sums = log_codes.logsumexp(-2, keepdim=True)
        log_codes -= log_sum_exp_over_ranks(own_sums)
        log_codes -= log_codes.logsumexp(-1, keepdim=True)
    return log_codes.exp_()


class FeatureQueue(ObjectiveModule):
    """FIFO of the last features of both views, the same on every rank.

    Fills from the start; gives what it holds from an epoch on, and only slots
    that are filled. Positives are kept as they were compared, with SSPS the
    substituted ones.

    Arguments
    ---------
    size : int
        Slots per view, at least the batch over all ranks.
    dim : int
        Dimension of the features.
    start_epoch : int
        First epoch, from 1, that uses the features.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), training
    with small batches. Differs: it has filled by the epoch that uses it, where
    the authors begin to fill it then.

    Example
    -------
    >>> queue = FeatureQueue(size=3, dim=1)
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     queue.update_anchors(torch.tensor([[value]]))
    ...     queue.update(torch.tensor([[-value]]))
    >>> queue().squeeze(-1).tolist()  # the first has left
    [[4.0, 2.0, 3.0], [-4.0, -2.0, -3.0]]
    """

    features: Tensor

    def __init__(self, size: int, dim: int, start_epoch: int = 1) -> None:
        super().__init__()
        for name, value in (
            ("size", size),
            ("dim", dim),
            ("start_epoch", start_epoch),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.size = size
        self.start_epoch = start_epoch
        self._used = start_epoch == 1
        self.register_buffer("features", torch.zeros(2, size, dim))
        # Numbers, not tensors: no step waits for a device to know them.
        self._num_taken = [0, 0]

    def forward(self) -> Tensor:
        """Return the features of anchors and positives, in no order.

        Returns
        -------
        torch.Tensor
            `(2, filled, dim)` float32, a view of the queue; `filled` is 0 in
            epochs that do not use it.
        """
        filled = min(*self._num_taken, self.size) if self._used else 0
        return self.features[:, :filled]

    def begin_epoch(self, epoch: int) -> None:
        """Decide whether this epoch uses the features."""
        self._used = epoch >= self.start_epoch

    def update_anchors(self, anchors: Tensor) -> None:
        """Append a step's anchors, `(batch, dim)`, of all ranks."""
        self._append(_ANCHORS, anchors)

    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Append what they were compared with, `(batch, dim)`, of all ranks.

        Raises
        ------
        ValueError
            More rows over all ranks than the queue has slots.
        """
        self._append(_POSITIVES, targets)

    def _append(self, side: int, rows: Tensor) -> None:
        (rows,) = gather_rows(rows)
        if len(rows) > self.size:
            raise ValueError(
                f"A step brings {len(rows)} features (over all ranks), but the "
                f"queue has {self.size} slots. Set feature_queue_size to at "
                "least global_batch_size."
            )
        slots = torch.arange(len(rows), device=rows.device)
        slots = (slots + self._num_taken[side]) % self.size
        # A NaN would spoil the codes for as long as it stays; a row of zeros
        # favours no prototype.
        rows = torch.where(rows.isfinite().all(1, keepdim=True), rows, 0.0)
        self.features[side].index_copy_(0, slots, rows.to(self.features.dtype))
        self._num_taken[side] += len(rows)

    def get_extra_state(self) -> dict[str, list[int]]:
        """Return how many features each side has taken."""
        return {"num_taken": list(self._num_taken)}

    def set_extra_state(self, state: dict[str, list[int]]) -> None:
        """Go on where the state left off."""
        self._num_taken = list(state["num_taken"])


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
