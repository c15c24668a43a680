"""What each rank has of its own inside an epoch, for a resume to go on from."""

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

    def gather(self, module: nn.Module, loss: float) -> None:
        """Take up what the ranks have at present; all of them must call.

        One process needs none of it.

        Arguments
        ---------
        module : torch.nn.Module
            Whose buffers are kept.
        loss : float
            The mean over this rank's steps of the epoch.
        """
        if not is_distributed():
            return
        device = next(module.parameters()).device
        row = torch.cat(
            [
                torch.tensor([loss], dtype=torch.float64, device=device),
                *(buffer.detach().flatten().double() for buffer in _of(module)),
            ]
        )
        (rows,) = gather_rows(row[None])
        self._rows = rows.cpu()

    def forget(self) -> None:
        """Keep nothing: where an epoch ends, all ranks have the same."""
        self._rows = self._rows.new_empty(0, 0)

    def restore(self, module: nn.Module) -> float | None:
        """Give the module this rank's buffers back, and return its mean loss.

        Returns
        -------
        float or None
            None, and the module as it was, if nothing was kept, or by another
            number of ranks.
        """
        if len(self._rows) != world_size():
            return None
        row = self._rows[rank()]
        loss, values = float(row[0]), row[1:]
        for buffer in _of(module):
            own, values = values.split(
                [buffer.numel(), len(values) - buffer.numel()]
            )
            buffer.copy_(own.view(buffer.shape))
        return loss

    def get_extra_state(self) -> Tensor:
        """Return what is kept, `(ranks, numbers)` float64."""
        return self._rows

    def set_extra_state(self, state: Any) -> None:
        """Take up what was kept."""
        self._rows = state


def _of(module: nn.Module) -> list[Tensor]:
    return list(module.buffers())
