"""One training step as the memories take it: in one layout."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Utterances, references and positives of one step.

    Arguments
    ---------
    index : torch.Tensor
        `(batch,)` int64, the utterances.
    reference : torch.Tensor
        `(batch, reference_dim)` float32, without gradient.
    positives : torch.Tensor
        `(num_targets, batch, dim)`, any float dtype.
    """

    index: Tensor
    reference: Tensor
    positives: Tensor

    def finite_rows(self) -> Tensor | None:
        """Which utterances have only finite numbers.

        Returns
        -------
        torch.Tensor or None
            `(batch,)` bool. None where all have, seen on a CPU only.
        """
        # A sum tells in one pass: NaN and infinity stay in it.
        if self.index.device.type == "cpu":
            total = self.reference.sum()
            total += self.positives.sum(dtype=torch.float32)
            if math.isfinite(total):
                return None
        rows = self.reference.sum(1)
        rows = rows + self.positives.sum((0, 2), dtype=torch.float32)
        return rows.isfinite()
