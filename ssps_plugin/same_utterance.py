"""Same-utterance positives: the baseline with the face of SSPS."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class SameUtterancePositives(nn.Module):
    """Keep every anchor's own positive: standard self-supervision.

    Stands where a `PositiveSampler` stands, so that a recipe is the same with
    and without SSPS.

    Example
    -------
    >>> positives = torch.ones(2, 3)
    >>> SameUtterancePositives()(["a", "b"], None, positives) is positives
    True
    """

    remembering = False
    substituting = False
    start_epoch = None
    last_draw = None

    def bind(self, dataset: Any) -> None:
        """Nothing to size."""

    def begin_epoch(self, epoch: int | None) -> None:
        """Nothing to prepare."""

    def reset(self) -> None:
        """Nothing to forget."""

    def cluster_of(self, ids: Sequence[str] | Tensor) -> Tensor:
        """No clusters: -1 for every utterance of a batch."""
        return torch.full((len(ids),), -1)

    def cluster_of_positives(self) -> None:
        """No clusters: no draw to tell the cluster of."""

    def figures(self) -> dict[str, float]:
        """Nothing to log."""
        return {}

    def forward(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Return `positives` itself."""
        return positives

    def get_extra_state(self) -> dict[str, Any]:
        """Nothing to save, said so: SpeechBrain warns of an empty state."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""
