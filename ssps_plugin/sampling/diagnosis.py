"""What the log says of an epoch of SSPS, and what may be wrong with it."""

import dataclasses

import torch
from speechbrain.utils.logger import get_logger

from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling.coverage import Coverage
from ssps_plugin.sampling.epoch_plan import EpochPlan
from ssps_plugin.sampling.strategy import SamplingStrategy

logger = get_logger(__name__)

_LOW_COVERAGE = 0.4


@dataclasses.dataclass(frozen=True)
class EpochDiagnosis:
    """Say how an epoch went, and if badly, why and what to change.

    Arguments
    ---------
    epoch : int
        The epoch, 0 before the first.
    plan : EpochPlan
        What epochs are for.
    anchors, covered, dropped : int
        Rows of the epoch's steps: all, those with a pseudo-positive, and those
        that were not remembered since they are not finite.
    num_utterances : int
        Of the training set.
    strategy : SamplingStrategy
        What draws.
    coverage : Coverage
        Which draws are used.
    bank : ReferenceBank
        The references.
    queue : PositiveQueue
        The positives.
    reads_partners : bool
        Whether partners are read, and nothing is queued.
    """

    epoch: int
    plan: EpochPlan
    anchors: int
    covered: int
    dropped: int
    num_utterances: int
    strategy: SamplingStrategy
    coverage: Coverage
    bank: ReferenceBank
    queue: PositiveQueue
    reads_partners: bool

    @property
    def covered_fraction(self) -> float:
        """Fraction of the anchors that got a pseudo-positive."""
        return self.covered / max(self.anchors, 1)

    @property
    def _asked_coverage(self) -> float:
        return self.coverage.fraction(self.plan.ssps_epoch(self.epoch))

    @property
    def _queue_is_short(self) -> bool:
        """Whether the queue holds fewer than there are."""
        return not self.reads_partners and self.queue.size < self.num_utterances

    def log(self) -> bool:
        """Log the coverage, warn of what is low; return if a fault was named.

        Before SSPS starts, only rows that were not remembered are warned of.
        """
        if self.dropped and bool(self.bank.seen.any()):
            logger.warning(
                "SSPS did not remember %d of %d rows of epoch %d, because "
                "their %s were not finite (NaN or infinity): lower the "
                "learning rate, or look at the audio.",
                self.dropped,
                self.anchors,
                self.epoch,
                self._not_finite(),
            )
        if not self.plan.is_of_ssps(self.epoch):
            return False
        logger.info(
            "SSPS epoch %d: coverage %.3f", self.epoch, self.covered_fraction
        )
        if self.coverage.is_auto or self.strategy.holds_back:
            self._explain_holding_back()
            return False
        if self.covered_fraction >= _LOW_COVERAGE * self._asked_coverage:
            return False
        fault = self.find_fault()
        logger.warning(
            "SSPS found a pseudo-positive for %.1f %% of the anchors "
            "of epoch %d only, the others kept their own positives: %s.",
            100 * self.covered_fraction,
            self.epoch,
            fault or self._explain_low_coverage(),
        )
        return fault is not None

    def find_fault(self) -> str | None:
        """Say what is wrong with references or clusters, and what to try."""
        if self.bank.are_alike():
            cosine = self.bank.mean_cosine()
            return (
                "the references of all utterances are nearly the same (mean "
                f"cosine {cosine:.3f}), so the encoder has collapsed or the "
                "recordings are copies of one. Look at the loss and the audio, "
                "lower the learning rate, and go on from a checkpoint before"
            )
        return self.strategy.find_fault()

    def explain_nothing_remembered(self) -> str:
        """Say, after "nothing is remembered", why, and what to change."""
        if self.dropped:
            return self.explain_dropped()
        if self.plan.start_epoch == 1:
            return (
                ". Call warm_start(...) with an encoder that is already "
                "trained, or change start_epoch to 2 or more: the epoch before "
                "it fills the memories."
            )
        start = self.plan.start_epoch
        return (
            f". Train the epoch before with SSPS in place (start_epoch {start} "
            f"fills the memories in epoch {start - 1}), or call "
            "warm_start(...) with an encoder that is already trained."
        )

    def explain_dropped(self) -> str:
        """Say which rows were not remembered; empty where all were."""
        if not self.dropped:
            return ""
        return (
            f": {self.dropped} of {self.anchors} rows of epoch {self.epoch} "
            f"were not remembered, because their {self._not_finite()} were not "
            "finite (NaN or infinity). Lower the learning rate or look at the "
            "audio, and go on from a checkpoint before that epoch."
        )

    def _not_finite(self) -> str:
        """Name what was not finite in rows that were not remembered."""
        # A slot keeps the positives of such a row, though it counts as empty.
        finite = bool(self.queue.positives.isfinite().all())
        return "references" if finite else "references or positives"

    def _explain_holding_back(self) -> None:
        """Log in words how many anchors were covered, and why not more."""
        compares = self.coverage.compares_lists
        part = self.coverage if compares else self.strategy
        why = part.explain_holding_back()
        if self._queue_is_short:
            why += (
                f", or is not among the {self.queue.size} utterances of the "
                f"queue (queue_size), of {self.num_utterances}"
            )
        waiting = self.coverage.explain_waiting()
        if waiting:
            latest = self.plan.latest_start_epoch
            why = f"{waiting}, in epoch {latest} at the latest"
        if self._asked_coverage < 1:
            why += ", or because coverage asks for no more"
        coverage = self.covered_fraction
        logger.info(
            "SSPS epoch %d: %.1f %% of the anchors got a pseudo-positive%s.",
            self.epoch,
            100 * coverage,
            f"; the others kept their own, since {why}" if coverage < 1 else "",
        )
        last = self.plan.last_reference_epoch
        if coverage == 0 and last is not None and self.epoch >= last:
            logger.warning(
                "SSPS will substitute nothing: it does not now, and no "
                "references are made after epoch %d by which that could "
                "change. Raise last_reference_epoch, or leave it out.",
                last,
            )

    def _explain_low_coverage(self) -> str:
        """Say why few pseudo-positives were found, and what to try."""
        if not self.anchors:
            return (
                "the sampler was called in no step, call it in every step, "
                "with reference None where needs_reference is False"
            )
        if self.dropped > _LOW_COVERAGE * self.anchors:
            return (
                f"the {self._not_finite()} of {self.dropped} of {self.anchors} "
                "rows were not finite, lower the learning rate or look at the "
                "audio"
            )
        if self.strategy.has_clusters:
            every = torch.arange(
                self.num_utterances, device=self.bank.references.device
            )
            num_clustered = int((self.strategy.cluster_of(every) >= 0).sum())
            if num_clustered < _LOW_COVERAGE * self.num_utterances:
                return (
                    f"{num_clustered} of {self.num_utterances} utterances had "
                    "a reference when the epoch began, let the epochs see all"
                )
        if self._queue_is_short:
            return "raise queue_size, or lower num_clusters"
        return "lower num_clusters, or change num_neighbors"
