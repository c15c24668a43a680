"""SwAV's loss, its codes by Sinkhorn-Knopp, and its queue of features."""

import math

import torch
from torch import Tensor, nn

from ssps_plugin.checks import check_flag, is_above, is_from_to
from ssps_plugin.distributed import (
    gather_rows,
    log_sum_exp_over_ranks,
    mean_over_joint_batch,
    share_of_rank,
)
from ssps_plugin.losses.objective_module import ObjectiveModule, check_pairs

# Rows of the queue's first dimension.
_ANCHORS, _POSITIVES = 0, 1


class SwAVLoss(nn.Module):
    """Predict each view's assignment to prototypes from the other view.

    The assignments (codes) come from Sinkhorn-Knopp over the joint batch of
    the ranks, together with the features of past steps if there is a queue.
    Codes carry no gradient. Computed in float32.

    A positive without gradient (a pseudo-positive) still predicts the
    anchor's code: in that direction only the prototypes learn.

    Arguments
    ---------
    temperature : float
        Divides the cosines of the predictions, greater than 0.
    epsilon : float
        Weight of the codes' entropy, greater than 0: smaller is harder.
    num_iterations : int
        Iterations of Sinkhorn-Knopp, at least 1.

    Raises
    ------
    ValueError
        A number out of range.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), equations 1
    to 5; settings of Lepage and Dehak (arXiv 2501.17772).

    Example
    -------
    >>> from ssps_plugin.heads import Prototypes
    >>> prototypes = Prototypes(dim=2, num_prototypes=2)
    >>> _ = prototypes.weight.data.copy_(torch.eye(2))
    >>> views, loss = torch.eye(2), SwAVLoss(temperature=1.0)
    >>> # Codes are one-hot, and each prediction is the softmax of (1, 0).
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
        if not is_above(0, temperature, epsilon) or not is_from_to(
            1, math.inf, num_iterations
        ):
            raise ValueError(
                "Expected temperature > 0, epsilon > 0 and num_iterations >= "
                f"1, got {temperature}, {epsilon} and {num_iterations}: change "
                "prediction_temperature, sinkhorn_epsilon or "
                "num_sinkhorn_iterations."
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
            `(..., dim) -> (..., num_prototypes)`, such as `Prototypes`, with
            its wrapper of parallel training. Called once.
        queue : torch.nn.Module, optional
            `() -> (2, filled, dim)`, such as `FeatureQueue`: features of
            anchors and of positives, the same on every rank. They are used for
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
                # All ranks hold the same queue: each scores its share of it.
                stored = share_of_rank(queue(), dim=1)
                features = torch.cat([views, stored], dim=1)
            # (2, batch + share of the queue, num_prototypes)
            scores = prototypes(features)
            codes = sinkhorn_codes(scores, self.epsilon, self.num_iterations)
            batch = len(anchors)
            logits = scores[:, :batch] / self.temperature
            agreement = codes[:, :batch].flip(0) * logits.log_softmax(-1)
            return mean_over_joint_batch(-agreement.sum(), 2 * batch)


@torch.no_grad()
def sinkhorn_codes(
    scores: Tensor, epsilon: float, num_iterations: int
) -> Tensor:
    """Assign every row to prototypes, so that all are used equally.

    Rows of the other ranks count as if they were in the same batch. Computed
    in the log domain, so that no scale of the scores overflows.

    Arguments
    ---------
    scores : torch.Tensor
        `(..., rows, num_prototypes)`, similarities; leading dimensions are
        separate problems. The number of rows may differ between ranks.
    epsilon : float
        Weight of the assignments' entropy: smaller is harder.
    num_iterations : int
        How often prototypes, then rows, are scaled to equal sums.

    Returns
    -------
    torch.Tensor
        The codes, shape of `scores`, float32, without gradient. Each row sums
        to 1; the sums of the columns become equal with more iterations.

    Source: M. Cuturi, Sinkhorn Distances, NeurIPS 2013; M. Caron et al., SwAV,
    NeurIPS 2020 (arXiv 2006.09882), section 3.1 and appendix A.

    Example
    -------
    >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.5]])  # the first is nearest
    >>> codes = sinkhorn_codes(scores, epsilon=0.05, num_iterations=50)
    >>> codes.round(decimals=1).abs().tolist()  # but one gets the second
    [[1.0, 0.0], [0.0, 1.0]]
    """
    log_codes = scores.detach().float() / epsilon
    for _ in range(num_iterations):
        own_sums = log_codes.logsumexp(-2, keepdim=True)
        log_codes -= log_sum_exp_over_ranks(own_sums)
        log_codes -= log_codes.logsumexp(-1, keepdim=True)
    return log_codes.exp_()


class FeatureQueue(ObjectiveModule):
    """Keep the last features of both views, first in, first out.

    It fills from the first step on, and returns its features from
    `start_epoch` on. Every rank holds the same.

    Arguments
    ---------
    size : int
        Slots per view, at least the batch over all ranks.
    dim : int
        Dimension of the features.
    start_epoch : int
        First epoch, from 1, that uses the features.
    keep_originals : bool
        Keep a step's own positives, as in the code of Lepage and Dehak. False:
        keep positives as they were compared, with SSPS the substituted ones.
        Without SSPS, both are the same.

    Raises
    ------
    ValueError
        A number below 1.

    Source: M. Caron et al., SwAV, NeurIPS 2020 (arXiv 2006.09882), training
    with small batches. Differs: the queue fills before the epoch that uses it,
    where the authors begin to fill it in that epoch.

    Example
    -------
    >>> queue = FeatureQueue(size=3, dim=1)
    >>> for value in (1.0, 2.0, 3.0, 4.0):
    ...     queue.update_anchors(torch.tensor([[value]]))
    ...     queue.update(torch.tensor([[-value]]))
    >>> queue().squeeze(-1).tolist()  # the first was overwritten
    [[4.0, 2.0, 3.0], [-4.0, -2.0, -3.0]]
    """

    features: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        start_epoch: int = 1,
        keep_originals: bool = False,
    ) -> None:
        super().__init__()
        if min(size, dim, start_epoch) < 1:
            raise ValueError(
                "Expected size, dim and start_epoch >= 1, got "
                f"{size}, {dim} and {start_epoch}: change feature_queue_size, "
                "projection_dim or feature_queue_start_epoch."
            )
        check_flag("keep_originals", keep_originals)
        self.size = size
        self.start_epoch = start_epoch
        self.keep_originals = keep_originals
        self._used = start_epoch == 1
        self.register_buffer("features", torch.zeros(2, size, dim))
        # Numbers, not tensors: so no step waits for a device to read them.
        self._num_appended = [0, 0]

    def forward(self) -> Tensor:
        """Return the features of anchors and positives, unordered.

        Returns
        -------
        torch.Tensor
            `(2, filled, dim)` float32, a view of the filled slots; `filled` is
            0 in epochs that do not use the features.
        """
        filled = min(*self._num_appended, self.size) if self._used else 0
        return self.features[:, :filled]

    def check_batch(self, num_rows: int) -> None:
        """Check that the queue has as many slots as a step has features."""
        if num_rows > self.size:
            raise ValueError(
                f"Expected at most {self.size} features in a step (over all "
                "ranks), the slots of the feature queue, got "
                f"{num_rows}: raise feature_queue_size to at least "
                "global_batch_size."
            )

    def begin_epoch(self, epoch: int) -> None:
        """Decide whether this epoch uses the features."""
        self._used = epoch >= self.start_epoch

    def update_anchors(self, anchors: Tensor) -> None:
        """Append a step's anchors, `(batch, dim)`, of all ranks.

        Raises
        ------
        ValueError
            More rows over all ranks than the queue has slots.
        """
        self._append(_ANCHORS, anchors)

    def update_positives(self, positives: Tensor) -> None:
        """Append a step's own positives, `(batch, dim)`, if these are kept.

        Positives of all ranks are appended.

        Raises
        ------
        ValueError
            More rows over all ranks than the queue has slots.
        """
        if self.keep_originals:
            self._append(_POSITIVES, positives)

    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Append what the anchors were compared with, if that is kept.

        Targets, `(batch, dim)`, of all ranks are appended.

        Raises
        ------
        ValueError
            More rows over all ranks than the queue has slots.
        """
        if not self.keep_originals:
            self._append(_POSITIVES, targets)

    def get_extra_state(self) -> Tensor:
        """Return how many features of each side were appended, `(2,)` int64."""
        return torch.tensor(self._num_appended)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore how many features of each side were appended."""
        self._num_appended = state.tolist()

    def _append(self, side: int, rows: Tensor) -> None:
        (rows,) = gather_rows(rows)
        self.check_batch(len(rows))
        slots = torch.arange(len(rows), device=rows.device)
        slots = (slots + self._num_appended[side]) % self.size
        # A NaN would spoil the codes for as long as it stays; a row of zeros
        # favours no prototype.
        rows = torch.where(rows.isfinite().all(1, keepdim=True), rows, 0.0)
        self.features[side].index_copy_(0, slots, rows.to(self.features.dtype))
        self._num_appended[side] += len(rows)
