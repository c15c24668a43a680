"""SwAV's queue: features of past steps that steady a batch's codes."""

import torch
from torch import Tensor

from ssps_plugin.distributed import gather_rows
from ssps_plugin.objective_module import ObjectiveModule

_ANCHORS, _POSITIVES = 0, 1


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
