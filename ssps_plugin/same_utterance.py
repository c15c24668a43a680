"""What samplers share, and the one that substitutes nothing: the baseline."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Sampler(Protocol):
    """What recipes and `PositiveSamplingLoss` ask of a sampler.

    `PositiveSampler` answers, and `SameUtterancePositives`, so that one code
    runs with and without SSPS.
    """

    @property
    def enabled(self) -> bool:
        """Whether SSPS is on: it substitutes from `start_epoch` on."""

    @property
    def start_epoch(self) -> int | None:
        """First epoch with substituted positives; None where SSPS is off."""

    @property
    def remembering(self) -> bool:
        """Whether a step of the present epoch remembers."""

    @property
    def renews_references(self) -> bool:
        """Whether a step of the present epoch remembers its references."""

    @property
    def covers_nothing(self) -> bool:
        """Whether nothing is substituted in any epoch, whatever is on."""

    @property
    def may_not_begin(self) -> bool:
        """Whether it is not decided yet if SSPS begins at all."""

    @property
    def reads_partners(self) -> bool:
        """Whether views are read from partners, and nothing substituted."""

    @property
    def needs_reference(self) -> bool:
        """Whether to pass references: it renews them, or checks the first."""

    @property
    def substituting(self) -> bool:
        """Whether a step of the present epoch substitutes positives."""

    @property
    def has_clusters(self) -> bool:
        """Whether `cluster_of` knows clusters."""

    @property
    def last_draw(self) -> tuple[Tensor, Tensor] | None:
        """Anchors and drawn utterances of the last step, `(batch,)` each."""

    def bind(self, dataset: Any) -> None:
        """Size the memories by a training set."""

    def check_batch(self, num_rows: int) -> None:
        """Check that the memories take as many utterances as a step has."""

    def check_epoch(self, num_utterances: int) -> None:
        """Check that an epoch shows enough utterances to begin with."""

    def may_begin_in(self, epoch: int) -> bool:
        """Whether SSPS may begin in an epoch, as far as is known before it."""

    def object_to_beginning(self, reason: str) -> None:
        """Say why SSPS had better not begin in the next epoch, or nothing."""

    def begin_epoch(self, epoch: int | None) -> None:
        """Start a training epoch, from 1."""

    def end_epoch(self) -> None:
        """Log the epoch, and warn of what is wrong with it."""

    def reset(self) -> None:
        """Forget everything but the bound utterances."""

    def cluster_of(self, ids: Sequence[str] | Tensor) -> Tensor:
        """Cluster of every utterance of a batch, -1 where there is none."""

    def cluster_of_positives(self) -> Tensor | None:
        """Cluster of what was used as each positive of the last step."""

    def metrics(self) -> dict[str, float]:
        """Metrics of the epoch so far."""

    def __call__(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Return positives, substituted or not, and remember the step."""

    def substitute(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Return positives, substituted or not; `remember` follows."""

    def remember(self) -> None:
        """Remember the step of the last `substitute`."""

    def discard(self) -> None:
        """Forget the step of the last `substitute`."""


class SameUtterancePositives(nn.Module):
    """Keep every anchor's own positive: standard self-supervision.

    Used in the place of a `PositiveSampler`, so that a recipe is the same with
    and without SSPS.

    Example
    -------
    >>> positives = torch.ones(2, 3)
    >>> SameUtterancePositives()(["a", "b"], None, positives) is positives
    True
    """

    enabled = False
    start_epoch = None
    remembering = False
    renews_references = False
    covers_nothing = True
    may_not_begin = False
    reads_partners = False
    needs_reference = False
    substituting = False
    has_clusters = False
    last_draw = None

    def bind(self, dataset: Any) -> None:
        """Do nothing: there are no memories to size."""

    def check_batch(self, num_rows: int) -> None:
        """Do nothing."""

    def check_epoch(self, num_utterances: int) -> None:
        """Do nothing."""

    def may_begin_in(self, epoch: int) -> bool:
        """Return False."""
        return False

    def object_to_beginning(self, reason: str) -> None:
        """Do nothing: there is nothing that would begin."""

    def begin_epoch(self, epoch: int | None) -> None:
        """Do nothing: there is nothing to prepare."""

    def end_epoch(self) -> None:
        """Do nothing: there is nothing to warn of."""

    def reset(self) -> None:
        """Do nothing: there is nothing to forget."""

    def cluster_of(self, ids: Sequence[str] | Tensor) -> Tensor:
        """Return -1 for every utterance of a batch: there are no clusters."""
        return torch.full((len(ids),), -1)

    def cluster_of_positives(self) -> None:
        """Return None: nothing is drawn."""

    def metrics(self) -> dict[str, float]:
        """Return no metrics."""
        return {}

    def figures(self) -> dict[str, float]:
        """Return `metrics()`, under the name that it had in 0.1.0's README."""
        return self.metrics()

    def forward(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Return `positives` itself."""
        return positives

    def substitute(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Return `positives` itself."""
        return positives

    def remember(self) -> None:
        """Do nothing: there is nothing to remember."""

    def discard(self) -> None:
        """Do nothing: there is nothing to forget."""

    def get_extra_state(self) -> Tensor:
        """Return an empty tensor: SpeechBrain warns of an empty state."""
        return torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Do nothing: there is no state."""
