"""One training step as the memories take it: checked, in one layout."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.utterance_index import UtteranceIndex


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


class StepCheck:
    """Brings a step's arguments into one layout, or says what is wrong.

    Arguments
    ---------
    utterances : UtteranceIndex
        The bound utterances.
    layout : PositiveLayout
        Shapes of positives.
    reference_dim : int
        Dimension of a reference.
    """

    def __init__(
        self,
        utterances: UtteranceIndex,
        layout: PositiveLayout,
        reference_dim: int,
    ) -> None:
        self.utterances = utterances
        self.layout = layout
        self.reference_dim = reference_dim

    def __call__(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
        device: torch.device,
    ) -> Step:
        """Check what a recipe passes.

        Arguments
        ---------
        ids, reference, positives
            As `PositiveSampler` takes them.
        device : torch.device
            Where the memories are.

        Raises
        ------
        ValueError
            Something is missing, or of another shape or device.
        """
        index = self.utterances.positions(ids, device)
        if reference is None:
            raise ValueError(
                "PositiveSampler needs reference representations from the "
                "epoch before start_epoch on: pass "
                "reference=reference_representation(embed, ...)."
            )
        expected = (len(index), self.reference_dim)
        if reference.shape == (len(index), 1, self.reference_dim):
            reference = reference.squeeze(1)
        if reference.shape != expected:
            raise ValueError(
                f"Expected reference of shape {expected} (batch, "
                f"reference_dim), got {tuple(reference.shape)}. Check "
                "reference_dim of the PositiveSampler."
            )
        targets = self.layout.targets_first(positives, len(index))
        for name, tensor in (("reference", reference), ("positives", targets)):
            if tensor.device != device:
                raise ValueError(
                    f"{name} is on {tensor.device}, the memories are on "
                    f"{device}. Put the sampler into Brain.modules, or move "
                    "it with sampler.to(device)."
                )
        return Step(index, reference.detach().float(), targets)
