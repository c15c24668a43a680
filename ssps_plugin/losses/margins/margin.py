"""What every margin is, and the one that changes nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.distributed import sum_over_ranks
from ssps_plugin.objective_module import ObjectiveModule


class Margin(ObjectiveModule):
    """Base of the margins: cosines in, cosines out, before the temperature.

    Margins come from classification, where the target is a class centre. In a
    contrastive loss there are none: the target is the cosine of an anchor and
    its positive, the others are its cosines with the negatives.

    A margin is the entry `margin` of `modules` and of the recoverables: so a
    running state is on the loss's device, in its mode, and in checkpoints. A
    checkpoint of another margin (of a warm start, most likely) leaves the
    running state at its start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_keep_own_state)

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the cosines that are compared.

        Arguments
        ---------
        targets : torch.Tensor
            `(..., 1)` float32, cosines of anchors and their positives.
        others : torch.Tensor
            `(..., n)`, cosines of anchors and what is not their positive.
        norms : torch.Tensor
            `(..., 1)`, norms of the anchors, without gradient.

        Returns
        -------
        tuple of torch.Tensor
            Targets and others, in their shapes.
        """
        raise NotImplementedError

    def get_extra_state(self) -> dict[str, Any]:
        """Nothing to add, said so: SpeechBrain warns of an empty state."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


class NoMargin(Margin):
    """Leave the cosines as they are.

    Example
    -------
    >>> import torch
    >>> targets, others = torch.ones(2, 1), torch.zeros(2, 3)
    >>> NoMargin()(targets, others, norms=targets)[0] is targets
    True
    """

    def forward(
        self, targets: Tensor, others: Tensor, norms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return `targets` and `others` themselves."""
        return targets, others


def _keep_own_state(
    margin: nn.Module, state: dict[str, Any], prefix: str, *_: Any
) -> None:
    own = {prefix + name: value for name, value in margin.named_buffers()}
    of_another = own.keys() != {
        name
        for name in state
        if name.startswith(prefix) and not name.endswith("_extra_state")
    }
    if of_another:
        for name in [name for name in state if name.startswith(prefix)]:
            if name not in own and not name.endswith("_extra_state"):
                del state[name]
        state.update(own)


def check_not_negative(name: str, value: float, limit: float) -> None:
    """Raise a ValueError unless `value` is in [0, limit]."""
    if not 0 <= value <= limit:
        raise ValueError(
            f"{name} must be between 0 and {limit:.4g}, got {value}."
        )


def finite_total(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, over all ranks, of the values that are finite, and their number.

    A step whose outputs overflow is left out by the optimiser; running
    statistics must not remember it either.
    """
    finite = values.isfinite()
    total = torch.where(finite, values, 0).sum()
    total, count = sum_over_ranks(torch.stack([total, finite.sum().to(total)]))
    return total, count
