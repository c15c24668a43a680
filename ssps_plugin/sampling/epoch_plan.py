"""Which epochs fill the memories, substitute, and renew references."""

import operator
from typing import Any

import torch
from torch import Tensor

from ssps_plugin.checks import check_whole_number

#: The last epoch there may be: an epoch is added to a seed, and hashed.
LAST_EPOCH = 2**31 - 1


class EpochPlan:
    """Say what an epoch, from 1, is for, before it is known how training goes.

    Epochs from `first_fill_epoch` on are remembered. In those from
    `start_epoch` on, positives are substituted.

    Arguments
    ---------
    start_epoch : int
        First epoch in which positives are substituted.
    latest_start_epoch : int, optional
        Where it is decided in an epoch whether SSPS begins, the last one in
        which it may. None is `start_epoch`.
    num_fill_epochs : int
        Epochs before `start_epoch` that fill the memories.
    reference_interval : int
        From the epoch before `start_epoch` on, references are renewed in one
        of so many epochs.
    last_reference_epoch : int, optional
        References are not renewed after this epoch.

    Raises
    ------
    ValueError
        No whole number, `start_epoch` or `reference_interval` below 1,
        `latest_start_epoch` before `start_epoch`, or `last_reference_epoch`
        before there are any references for SSPS.

    Example
    -------
    >>> plan = EpochPlan(start_epoch=3, reference_interval=2)
    >>> plan.first_fill_epoch
    2
    >>> [epoch for epoch in range(2, 8) if plan.renews_references(epoch)]
    [2, 4, 6]
    """

    def __init__(
        self,
        start_epoch: int,
        latest_start_epoch: int | None = None,
        num_fill_epochs: int = 1,
        reference_interval: int = 1,
        last_reference_epoch: int | None = None,
    ) -> None:
        check_whole_number("start_epoch", start_epoch, 1)
        check_whole_number("reference_interval", reference_interval, 1)
        if latest_start_epoch is None:
            latest_start_epoch = start_epoch
        check_whole_number("latest_start_epoch", latest_start_epoch)
        if latest_start_epoch < start_epoch:
            raise ValueError(
                "Expected latest_start_epoch (ssps_latest_start_epoch) of at "
                f"least start_epoch (ssps_start_epoch), {start_epoch}, got "
                f"{latest_start_epoch}: change one of them, or null for the "
                "same."
            )
        if last_reference_epoch is not None:
            check_whole_number("last_reference_epoch", last_reference_epoch)
            if last_reference_epoch < start_epoch - 1:
                raise ValueError(
                    "Expected last_reference_epoch of at least "
                    f"{start_epoch - 1}, the epoch before start_epoch "
                    "(ssps_start_epoch), got "
                    f"{last_reference_epoch}: change last_reference_epoch, or "
                    "null for references in every epoch."
                )
        self.start_epoch = start_epoch
        self.latest_start_epoch = latest_start_epoch
        self.reference_interval = reference_interval
        self.last_reference_epoch = last_reference_epoch
        #: The first epoch that is remembered.
        self.first_fill_epoch = start_epoch - num_fill_epochs

    def is_remembered(self, epoch: int) -> bool:
        """Whether an epoch fills the memories, or comes after that."""
        return epoch >= self.first_fill_epoch

    def is_of_ssps(self, epoch: int) -> bool:
        """Whether positives may be substituted in an epoch."""
        return epoch >= self.start_epoch

    def ssps_epoch(self, epoch: int) -> int:
        """Count an epoch from `start_epoch`, which is 0."""
        return epoch - self.start_epoch

    def is_last_to_begin(self, epoch: int) -> bool:
        """Whether SSPS begins in an epoch or never."""
        return epoch >= self.latest_start_epoch

    def renews_references(self, epoch: int) -> bool:
        """Whether references are new in an epoch that is remembered."""
        if epoch < self.start_epoch:
            return True
        last = self.last_reference_epoch
        if last is not None and epoch > last:
            return False
        return (self.ssps_epoch(epoch) + 1) % self.reference_interval == 0

    @property
    def is_filled_in_one_epoch(self) -> bool:
        """Whether SSPS starts by what a single epoch shows."""
        # There is no epoch before the first.
        return max(self.first_fill_epoch, 1) == self.start_epoch - 1


def whole_epoch(epoch: Any) -> int:
    """Return an epoch as an int; raise a ValueError unless it is one."""
    is_bool = isinstance(epoch, bool) or (
        isinstance(epoch, Tensor) and epoch.dtype == torch.bool
    )
    try:
        number = 0 if is_bool else operator.index(epoch)
    except TypeError:
        number = 0
    if 1 <= number <= LAST_EPOCH:
        return number
    raise ValueError(
        "Expected the epoch as a whole number from 1 on, got "
        f"{epoch!r}: pass what on_stage_start gets as epoch, since "
        "SpeechBrain's EpochCounter counts from 1."
    )
