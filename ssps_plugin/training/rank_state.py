"""What each rank has of its own inside an epoch, for a resume to go on from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.distributed import (
    gather_rows,
    is_distributed,
    rank,
    world_size,
)


class RankState(nn.Module):
    """Keep every rank's buffers and mean loss in the one checkpoint of all.

    The main process saves, and what it saves is its own: batch statistics
    that are not synchronised, and the mean loss of the epoch's steps, differ
    between ranks until the epoch ends. Without them, a run that is resumed
    inside an epoch is another one, if by little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows = torch.empty(0, 0, dtype=torch.float64)

    def gather(self, buffers: Sequence[Tensor], loss: float) -> None:
        """Take up what the ranks have at present; all of them must call.

        One process needs none of it.

        Arguments
        ---------
        buffers : sequence of torch.Tensor
            Those that may differ between ranks, on one device.
        loss : float
            The mean over this rank's steps of the epoch.
        """
        if not is_distributed():
            return
        values = [buffer.detach().flatten().double() for buffer in buffers]
        mean = torch.tensor([loss], dtype=torch.float64)
        row = torch.cat([*values, mean.to(buffers[0].device)])
        (rows,) = gather_rows(row[None])
        self._rows = rows.cpu()

    def forget(self) -> None:
        """Keep nothing: where an epoch ends, all ranks have the same."""
        self._rows = self._rows.new_empty(0, 0)

    def restore(self, buffers: Sequence[Tensor]) -> float | None:
        """Give a rank's buffers back what they were, and return its loss.

        Arguments
        ---------
        buffers : sequence of torch.Tensor
            In the order in which they were gathered.

        Returns
        -------
        float or None
            None, and the buffers as they were, if nothing was kept, or by
            another number of ranks.
        """
        if len(self._rows) != world_size():
            return None
        row = self._rows[rank()]
        sizes = [buffer.numel() for buffer in buffers]
        *values, loss = row.split([*sizes, 1])
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value.view(buffer.shape))
        return float(loss)

    def get_extra_state(self) -> Tensor:
        """Return what is kept, `(ranks, numbers)` float64."""
        return self._rows

    def set_extra_state(self, state: Any) -> None:
        """Take up what was kept."""
        self._rows = state
