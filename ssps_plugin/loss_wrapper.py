"""The loss wrapper: any loss, computed on substituted positives."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ssps_plugin.checks import check_flag
from ssps_plugin.distributed import JointBatch
from ssps_plugin.same_utterance import Sampler


class PositiveSamplingLoss(nn.Module):
    """Compute a loss on substituted positives.

    What it computes is `loss(anchors, sampler(ids, reference, positives))`.

    Before SSPS starts it is the bare loss, bit for bit.

    Arguments
    ---------
    loss : callable
        `loss(anchors, positives, **operands) -> loss`.
    sampler : Sampler
        Substitutes the positives: a `PositiveSampler`, or
        `SameUtterancePositives`.
    mask_false_negatives : bool
        Pass clusters to the loss, `groups=` of the anchors and
        `positive_groups=` of the positives, `(batch,)` int64 with -1 for none,
        so that it can leave views of the anchor's cluster out of its
        negatives.

    Raises
    ------
    ValueError
        `mask_false_negatives` with a loss that takes no `groups`, or with a
        strategy that has no clusters.

    Source: Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).

    Example
    -------
    >>> import torch
    >>> from ssps_plugin import NTXentLoss, SameUtterancePositives
    >>> loss = PositiveSamplingLoss(NTXentLoss(), SameUtterancePositives())
    >>> anchors, positives = torch.eye(2), torch.eye(2)
    >>> bool(loss(anchors, positives) == NTXentLoss()(anchors, positives))
    True
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        sampler: Sampler,
        mask_false_negatives: bool = False,
    ) -> None:
        super().__init__()
        check_flag("mask_false_negatives", mask_false_negatives)
        if mask_false_negatives:
            _check_groups(loss, sampler)
        self.loss = loss
        self.sampler = sampler
        self.mask_false_negatives = mask_false_negatives

    def forward(
        self,
        anchors: Tensor,
        positives: Tensor,
        ids: Sequence[str] | Tensor | None = None,
        reference: Tensor | None = None,
        **operands: Any,
    ) -> Tensor:
        """Substitute the positives and compute the loss.

        Arguments
        ---------
        anchors : torch.Tensor
            Passed to the loss as they are.
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`.
        ids : sequence of str or torch.Tensor
            The batch's utterance ids; may be left out outside training.
        reference : torch.Tensor
            `(batch, reference_dim)`; needed once the sampler remembers, and
            in the first step, to be checked: `sampler.needs_reference`.
        **operands
            Passed to the loss.

        Returns
        -------
        torch.Tensor
            What the loss returns.
        """
        substituted, groups = self.substitute(positives, ids, reference)
        return self.loss(anchors, substituted, **groups, **operands)

    def substitute(
        self,
        positives: Tensor,
        ids: Sequence[str] | Tensor | None = None,
        reference: Tensor | None = None,
        remember: bool = True,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Substitute the positives only.

        For methods that need the substituted positives after the loss.

        Arguments
        ---------
        positives, ids, reference
            As in `forward`.
        remember : bool
            False leaves it to the caller to call the sampler's `remember`, or
            `discard`, once it is known whether the step counts.

        Returns
        -------
        torch.Tensor
            Substituted positives, in the shape of `positives`.
        dict of str to torch.Tensor
            Operands for the loss, empty unless false negatives are masked:
            `groups` and `positive_groups`, `(batch,)` int64, the clusters of
            the anchors and of the utterances that the positives come from.
        """
        substituted = self.sampler.substitute(ids, reference, positives)
        groups: dict[str, Tensor] = {}
        masks = self.mask_false_negatives and self.sampler.substituting
        masks = masks and not self.sampler.covers_nothing
        if masks and ids is not None:
            own = self.sampler.cluster_of(ids)
            groups = {
                "groups": own,
                "positive_groups": self._positive_groups(own),
            }
        if remember:
            self.sampler.remember()
        return substituted, groups

    def _positive_groups(self, groups: Tensor) -> Tensor:
        """Clusters of the utterances that this rank's positives come from."""
        every = self.sampler.cluster_of_positives()
        # The draw is that of all ranks.
        return groups if every is None else every[JointBatch.of(groups).own]


def _check_groups(
    loss: Callable[..., Tensor],
    sampler: Sampler,
) -> None:
    """Raise where masks would do nothing, or fail once SSPS has started."""
    called = loss.forward if isinstance(loss, nn.Module) else loss
    parameters = inspect.signature(called).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not takes_any and not {"groups", "positive_groups"} <= set(parameters):
        raise ValueError(
            "Expected a loss that takes groups and positive_groups with "
            f"mask_false_negatives, got {type(loss).__name__}, which compares "
            "no negatives: set mask_false_negatives to False."
        )
    if sampler.enabled and not sampler.has_clusters:
        strategy = getattr(sampler, "strategy", sampler)
        raise ValueError(
            "Expected a strategy that has clusters with mask_false_negatives, "
            f"got {type(strategy).__name__}: use ClusteringSampling, "
            "or set mask_false_negatives to False."
        )
