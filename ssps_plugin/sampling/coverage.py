"""Coverage: which anchors get a pseudo-positive, and which do not. Ours."""

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.memory import ReferenceBank, ranges_of_parts
from ssps_plugin.sampling.neighbor_lists import (
    MIN_OVERLAP,
    NUM_NEIGHBORS,
    NeighborLists,
    renew_lists,
)
from ssps_plugin.sampling.schedule import Schedule, make_schedule
from ssps_plugin.sampling.strategy import SamplingStrategy, Whitening

#: Of which part of the utterances the draw has to be sure, with "auto", for
#: SSPS to begin: below, speakers are not told apart well enough.
LEAST_SURE = 1 / 3
# What is known of whether SSPS begins.
_UNDECIDED, _BEGINS, _GIVES_UP = range(3)


class Coverage(nn.Module):
    """Say which draws of a strategy are used; the others are not sure enough.

    As published, all are. A fraction below 1 covers the utterances of which
    the strategy is surest. "auto" needs no fraction: a draw is used if anchor
    and drawn utterance share at least 8 % of their 20 nearest neighbours,
    of this epoch and of the one before (`NeighborLists`). Utterances of one
    speaker do much more often than others; so few anchors are covered where
    speakers are hardly told apart, and nearly all where they are. SSPS begins
    in the first epoch in which a third would be. If that is none up to the
    last epoch in which it may, it does not begin at all, and the run is the
    one without it: overlaps grow as the learning rate falls, and are worth
    less then. Nor does it where a loss objects (`object_to_beginning`). What
    was measured is in docs/beyond.md.

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
    _sure_draws: Tensor
    _decided: Tensor

    def __init__(
        self,
        coverage: float | list[float] | Schedule | str,
        schedule_epochs: int | None,
        strategy: SamplingStrategy,
    ) -> None:
        super().__init__()
        #: Whether it is "auto".
        self.is_auto = isinstance(coverage, str) and coverage == "auto"
        #: Whether its own lists say which draws are sure. A strategy that
        #: compares lists holds back by itself.
        self.compares_lists = self.is_auto and not strategy.holds_back
        if self.is_auto:
            coverage = 1.0
        self._of_epoch = _checked_schedule(coverage, schedule_epochs, strategy)
        #: Whether, in any epoch, only the surest utterances are covered.
        of_epochs = [*self._of_epoch.values(), *self._of_epoch.bounds()]
        self.is_limited = min(of_epochs) < 1
        if self.is_limited:  # else there is nothing to be saved
            self.register_buffer(
                "_is_confident", torch.ones(0, dtype=torch.bool)
            )
        # Whether SSPS begins, as the host knows it: no step waits for a device.
        self._decision = _BEGINS
        # Of the coming epoch, and when it was decided last.
        self._objection = self._objection_then = ""
        if self.is_auto:
            self.register_buffer("_sure_draws", torch.zeros(()))
            self.register_buffer("_decided", torch.tensor(_UNDECIDED))
            self.register_load_state_dict_post_hook(_take_up_decision)
            self._decision = _UNDECIDED
        if self.compares_lists:
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
        return 2 if self.compares_lists else 1

    def fraction(self, ssps_epoch: int) -> float:
        """Return which fraction an SSPS epoch, from 0, may cover at most."""
        return self._of_epoch.at(ssps_epoch)

    def allocate(self, num_utterances: int, reference_dim: int) -> None:
        """Forget what was sure; raise a ValueError for too few utterances."""
        if self.is_limited:
            self._is_confident = self._is_confident.new_ones(num_utterances)
        if self.is_auto:
            self._sure_draws.zero_()
            self._decide_on(_UNDECIDED)
        if self.compares_lists:
            self.check_enough(num_utterances, "training utterances")
            self.whitening.allocate(reference_dim)
            self.lists.allocate(num_utterances)

    def check_enough(self, num_utterances: int, what: str) -> None:
        """Raise a ValueError for no more utterances than "auto" lists."""
        if self.compares_lists and num_utterances <= NUM_NEIGHBORS:
            raise ValueError(
                f"Expected more than {NUM_NEIGHBORS} {what} with coverage "
                f"auto, which compares lists of as many, got {num_utterances}: "
                "set coverage to a number."
            )

    def observe(self, bank: ReferenceBank) -> None:
        """Search the neighbours of new references, with "auto"."""
        if self.compares_lists:
            renew_lists(self.lists, self.whitening, bank)

    def explain_holding_back(self) -> str:
        """Say why draws are not used, with "auto"."""
        return self.lists.explain_holding_back()

    @property
    def is_undecided(self) -> bool:
        """Whether it is not known yet if SSPS begins, with "auto"."""
        return self._decision == _UNDECIDED

    @property
    def gives_up(self) -> bool:
        """Whether SSPS does not begin, with "auto"."""
        return self._decision == _GIVES_UP

    def explain_waiting(self) -> str:
        """Say why SSPS has not begun, empty where draws say nothing of it."""
        if self._decision == _BEGINS:
            return ""
        sure = float(self._sure_draws)
        if not sure and not self.gives_up:
            return ""
        if sure >= LEAST_SURE:
            # Of an epoch that was resumed, as it is said now.
            objection = self._objection_then or self._objection
            return f"{objection}: too little for coverage auto to begin"
        return (
            f"the draws of {100 * sure:.1f} % of the utterances are sure, "
            f"fewer than the {100 * LEAST_SURE:.0f} % by which coverage auto "
            "begins"
        )

    def prepare(
        self,
        strategy: SamplingStrategy,
        bank: ReferenceBank,
        seed: int,
        epoch: int,
        ssps_epoch: int,
    ) -> None:
        """Find what is sure in an epoch, after the strategy is prepared."""
        if self.compares_lists:  # else nobody is counted
            self.check_enough(int(bank.seen.sum()), "utterances seen so far")
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

    def object_to_beginning(self, reason: str) -> None:
        """Keep SSPS from beginning, with "auto", as long as there is a reason.

        It is not part of the state: say it before each epoch.
        """
        self._objection = reason

    def weigh(self, num_sure: Tensor, num_seen: int) -> None:
        """Take note of how many draws of an epoch are sure, if undecided.

        Arguments
        ---------
        num_sure : torch.Tensor
            Scalar int64, of how many utterances the draw is used so far.
        num_seen : int
            How many utterances drew.
        """
        if self.is_undecided:
            self._sure_draws.copy_(num_sure / max(1, num_seen))

    def decide(self, is_last: bool, strategy: SamplingStrategy) -> None:
        """Begin if enough draws are sure; give up if not, in the last epoch.

        Nor does it begin where there is an objection.

        Once all ranks agree on what was weighed. Where lists are of one epoch
        yet, no draw can be sure, and nothing is decided.

        Arguments
        ---------
        is_last : bool
            Whether SSPS begins now or never.
        strategy : SamplingStrategy
            Whose draws were weighed.
        """
        if not self.is_undecided:
            return
        sure = float(self._sure_draws)
        self._objection_then = self._objection
        if sure >= LEAST_SURE and not self._objection:
            self._decide_on(_BEGINS)
        elif is_last and self._is_conclusive(strategy):
            self._decide_on(_GIVES_UP)

    def _is_conclusive(self, strategy: SamplingStrategy) -> bool:
        """Whether draws that are not sure say that nobody is told apart."""
        if self.compares_lists:
            return self.lists.are_conclusive
        return strategy.is_conclusive

    def _decide_on(self, decision: int) -> None:
        self._decided.fill_(decision)
        self._decision = decision

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
        if self.compares_lists:
            overlap = self.lists.overlap(index, drawn.clamp(min=0))
            least = self.lists.least_overlap(MIN_OVERLAP)
            used &= (overlap >= least) & (drawn >= 0)
        return used

    def metrics(self, ssps_epoch: int) -> dict[str, float]:
        """Return what is known of an SSPS epoch, from 0.

        confident: the fraction asked for, where it is not always 1.
        sure_draws: with "auto", the fraction of the utterances whose draw was
        sure when it was decided whether SSPS begins, or, before, in this
        epoch. Then signs of the lists, where there are some of two epochs; see
        `NeighborLists.metrics`.
        """
        row: dict[str, float] = {}
        if self.is_limited and ssps_epoch >= 0:
            row["confident"] = self.fraction(ssps_epoch)
        if self.is_auto and ssps_epoch >= 0:
            row["sure_draws"] = float(self._sure_draws)
        if self.compares_lists and not self.gives_up:
            row |= self.lists.metrics()
        return row

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        ranges = {"_decided": (0, _GIVES_UP + 1)} if self.is_auto else {}
        if self.compares_lists:
            ranges |= ranges_of_parts(lists=self.lists)
        return ranges


def _take_up_decision(coverage: Coverage, _: Any) -> None:
    coverage._decision = int(coverage._decided)


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
