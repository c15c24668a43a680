"""Coverage: which anchors get a pseudo-positive, and which do not. Ours."""

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.memory import ReferenceBank
from ssps_plugin.sampling.neighbor_lists import (
    MIN_OVERLAP,
    NUM_NEIGHBORS,
    NeighborLists,
    renew_lists,
)
from ssps_plugin.sampling.schedule import Schedule, make_schedule
from ssps_plugin.sampling.strategy import SamplingStrategy, Whitening


class Coverage(nn.Module):
    """Say which draws of a strategy are used; the others are not sure enough.

    As published, all are. A fraction below 1 covers the utterances of which
    the strategy is surest. "auto" needs no fraction: a draw is used if anchor
    and drawn utterance share at least 8 % of their 20 nearest neighbours,
    of this epoch and of the one before (`NeighborLists`). Utterances of one
    speaker do much more often than others; so few anchors are covered where
    speakers are hardly told apart, and nearly all where they are. What was
    measured is in docs/beyond.md.

    Arguments
    ---------
    coverage : float, sequence of two float, Schedule or "auto"
        A fraction in [0, 1]. `[first, last]` goes from one to the other by
        equal differences.
    schedule_epochs : int, optional
        SSPS epochs from the first to the last of `[first, last]`.
    strategy : SamplingStrategy
        Whose draws they are.

    Raises
    ------
    ValueError
        A fraction that is out of range, or a strategy that does not fit.
    """

    _is_confident: Tensor

    def __init__(
        self,
        coverage: float | list[float] | Schedule | str,
        schedule_epochs: int | None,
        strategy: SamplingStrategy,
    ) -> None:
        super().__init__()
        # A strategy that compares lists holds back by itself.
        is_auto = isinstance(coverage, str) and coverage == "auto"
        self.is_auto = is_auto and not strategy.holds_back
        if is_auto:
            coverage = 1.0
        self._of_epoch = _checked_schedule(coverage, schedule_epochs, strategy)
        #: Whether, in any epoch, only the surest utterances are covered.
        of_epochs = [*self._of_epoch.values(), *self._of_epoch.bounds()]
        self.is_limited = min(of_epochs) < 1
        if self.is_limited:  # else there is nothing to be saved
            self.register_buffer(
                "_is_confident", torch.ones(0, dtype=torch.bool)
            )
        if self.is_auto:
            if strategy.draws_references:
                raise ValueError(
                    "Expected a strategy that draws utterances with coverage "
                    f"auto, got {type(strategy).__name__}, which substitutes "
                    "references: set coverage to a number, or use "
                    "ClusteringSampling."
                )
            self.whitening = Whitening(1.0)
            self.lists = NeighborLists(NUM_NEIGHBORS)

    @property
    def is_partial(self) -> bool:
        """Whether there are draws that are not used, in any epoch."""
        return self.is_limited or self.is_auto

    @property
    def is_none(self) -> bool:
        """Whether no draw is used in any epoch: the run without SSPS."""
        return max(self._of_epoch.values()) == 0

    @property
    def num_fill_epochs(self) -> int:
        """How many epochs before SSPS starts have to be remembered."""
        return 2 if self.is_auto else 1

    def fraction(self, ssps_epoch: int) -> float:
        """Return which fraction an SSPS epoch, from 0, may cover at most."""
        return self._of_epoch.at(ssps_epoch)

    def allocate(self, num_utterances: int, reference_dim: int) -> None:
        """Forget what was sure; raise a ValueError for too few utterances."""
        if self.is_limited:
            self._is_confident = self._is_confident.new_ones(num_utterances)
        if self.is_auto:
            _check_enough(num_utterances, "training utterances")
            self.whitening.allocate(reference_dim)
            self.lists.allocate(num_utterances)

    def observe(self, bank: ReferenceBank) -> None:
        """Search the neighbours of new references, with "auto"."""
        if self.is_auto:
            renew_lists(self.lists, self.whitening, bank)

    def explain_holding_back(self) -> str:
        """Say why draws are not used, with "auto"."""
        return self.lists.explain_holding_back()

    def prepare(
        self,
        strategy: SamplingStrategy,
        bank: ReferenceBank,
        seed: int,
        epoch: int,
        ssps_epoch: int,
    ) -> None:
        """Find what is sure in an epoch, after the strategy is prepared."""
        if self.is_auto:
            _check_enough(int(bank.seen.sum()), "utterances seen so far")
        if not self.is_limited:
            return
        fraction = self.fraction(ssps_epoch)
        if fraction == 1:
            self._is_confident.fill_(True)
            return
        self._is_confident.fill_(False)
        count = round(fraction * int(bank.seen.sum()))
        if count:
            confidence = strategy.confidence(bank, seed, epoch)
            # Stable: among equals, the first utterances, on every device.
            order = torch.sort(confidence, descending=True, stable=True)
            found = order.values[:count] > -torch.inf
            self._is_confident[order.indices[:count]] = found

    def uses(self, index: Tensor, drawn: Tensor) -> Tensor:
        """Return which draws are used.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        drawn : torch.Tensor
            `(batch,)` int64, what each drew, -1 for no utterance.

        Returns
        -------
        torch.Tensor
            `(batch,)` bool.
        """
        used = torch.ones_like(index, dtype=torch.bool)
        if self.is_limited:
            used &= self._is_confident[index]
        if self.is_auto:
            overlap = self.lists.overlap(index, drawn.clamp(min=0))
            used &= (overlap >= MIN_OVERLAP) & (drawn >= 0)
        return used

    def metrics(self, ssps_epoch: int) -> dict[str, float]:
        """Return `confident`, the fraction asked for, and signs of the lists.

        Those are in the epochs of "auto" that have lists of two epochs; see
        `NeighborLists.metrics`.
        """
        row: dict[str, float] = {}
        if self.is_limited and ssps_epoch >= 0:
            row["confident"] = self.fraction(ssps_epoch)
        if self.is_auto:
            row |= self.lists.metrics()
        return row

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        if not self.is_auto:
            return {}
        ranges = self.lists.index_ranges()
        return {f"lists.{name}": ranges[name] for name in ranges}


def _check_enough(num: int, what: str) -> None:
    if num <= NUM_NEIGHBORS:
        raise ValueError(
            f"Expected more than {NUM_NEIGHBORS} {what} with coverage "
            f"auto, which compares lists of as many, got {num}: set coverage "
            "to a number."
        )


def _checked_schedule(
    coverage: Any, schedule_epochs: int | None, strategy: SamplingStrategy
) -> Schedule:
    """Return the coverage of each SSPS epoch; raise a ValueError if wrong."""
    schedule = make_schedule("coverage", coverage, schedule_epochs)
    values = schedule.values()
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(
            f"Expected coverage in [0, 1], got {coverage!r}: change coverage "
            "(1.0 as published, 0.0 substitutes nothing)."
        )
    is_sure = strategy.has_confidence and (
        type(strategy).confidence is not SamplingStrategy.confidence
    )
    # Where none is covered, nobody asks who is sure.
    if any(0 < value < 1 for value in values) and not is_sure:
        raise ValueError(
            "Expected a strategy that says how sure it is with coverage "
            f"{coverage!r}, got {type(strategy).__name__}, which does not: set "
            "coverage to 1.0, or give it a method confidence and set "
            "has_confidence."
        )
    return schedule
