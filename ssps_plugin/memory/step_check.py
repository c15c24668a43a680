"""What a recipe passes, checked and brought into one layout."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.step import Step
from ssps_plugin.memory.utterance_index import UtteranceIndex


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
