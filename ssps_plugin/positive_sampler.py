"""The brain component of SSPS: substitutes positives, remembers what it saw."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.checks import check_whole_number
from ssps_plugin.distributed import (
    broadcast_buffers,
    gather_rows,
    world_size,
)
from ssps_plugin.memory import (
    PartnerTable,
    PositiveLayout,
    PositiveQueue,
    ReferenceBank,
    Step,
    UtteranceIndex,
    check_entries,
    check_ranges,
    check_step,
    find_ids,
    ranges_of_parts,
    resolve_repeats,
    substitute,
    warn_of_norms,
)
from ssps_plugin.sampling import (
    Anchors,
    Coverage,
    EpochDiagnosis,
    EpochPlan,
    SamplingStrategy,
    Schedule,
    effective_rank,
)
from ssps_plugin.sampling.epoch_plan import LAST_EPOCH, whole_epoch
from ssps_plugin.sampling.partner_draws import (
    draw_partners,
    has_own,
    selects_partners,
)

logger = get_logger(__name__)

_REFERENCE_DTYPES = ("float32", "float16", "bfloat16")
_PSEUDO_POSITIVES = ("queue", "read")
_RESUME_AS_SAVED = (
    "resume with the strategy, coverage and pseudo_positives that it was saved "
    "with, or from another checkpoint. Nothing was loaded."
)


class PositiveSampler(nn.Module):
    """Substitute same-utterance positives by pseudo-positives.

    Put it into `Brain.modules` and the checkpointer's recoverables, `bind` it
    to the training set, call `begin_epoch` when a training epoch starts, and
    pass every step's positives through it. It has no parameters; everything
    that must survive is a tensor in its `state_dict`.

    Epochs before `start_epoch - 1` change nothing, the one before
    `start_epoch` fills the memories, and from `start_epoch` on positives are
    substituted.

    With `pseudo_positives="read"`, which is ours, no embedding is substituted.
    When an epoch starts, every utterance gets a partner, drawn by the strategy
    from all utterances seen (`partners`), and the data side cuts the second
    view from the partner's file: fresh, augmented and with gradient.

    Arguments
    ---------
    strategy : SamplingStrategy
        How a pseudo-positive is selected.
    queue_size : int
        Slots of the positive queue, at least the batch over all ranks. Unused
        where pseudo-positives are read.
    reference_dim : int
        Dimension of the reference representations.
    positive_dim : int
        Dimension of the positives.
    start_epoch : int
        First epoch, from 1, in which positives are substituted.
    num_targets : int
        Positives per utterance (two for methods with two targets).
    seed : int
        Seed of clustering and draws.
    reference_dtype : str
        Of the reference memory: "float32", or "float16" or "bfloat16" for half
        the memory.
    pseudo_positives : str
        "queue" substitutes embeddings out of the queue, the published method;
        "read" has partners read.
    coverage : float, sequence of two float, Schedule or "auto"
        Fraction of the utterances, in [0, 1], that get a pseudo-positive:
        those of which the strategy is surest. The others keep their own. It
        is ours; 1.0 is the published method. `[first, last]` goes from one to
        the other by equal differences. "auto" uses a draw if its neighbours
        are the anchor's, now and an epoch ago, and begins when a third of the
        utterances have such a draw (see `Coverage`).
    schedule_epochs : int, optional
        SSPS epochs from the first to the last of `[first, last]`.
    reference_interval : int
        From the epoch before `start_epoch` on, references are renewed in every
        epoch (1, as published) or in one of so many. In the others they stay
        as they are, and `needs_reference` is False: the sampler is called
        without them. It is ours.
    last_reference_epoch : int, optional
        References are not renewed after this epoch, at least
        `start_epoch - 1`. Nothing is drawn by those of the last epoch, unless
        training goes on later or `NearestNeighborSampling` compares with them.
    latest_start_epoch : int, optional
        With coverage "auto", SSPS begins in the first epoch from `start_epoch`
        to this one in which enough draws are sure, or not at all. None is
        `start_epoch`: then or never.

    Raises
    ------
    ValueError
        A size, interval or epoch that is no whole number or below 1, a
        `latest_start_epoch` before `start_epoch`, a
        `last_reference_epoch` before SSPS has any, another `reference_dtype`
        or `pseudo_positives`, a coverage out of range, or a strategy that does
        not fit the dimensions or the coverage.

    Source: T. Lepage and R. Dehak, SSPS: Self-Supervised Positive Sampling for
    Robust Self-Supervised Speaker Verification, Interspeech 2025
    (arXiv 2505.14561). Differs: an anchor's own utterance is never drawn, and
    an utterance has one slot in the queue, its latest.

    Example
    -------
    >>> from ssps_plugin import NearestNeighborSampling
    >>> sampler = PositiveSampler(
    ...     NearestNeighborSampling(num_neighbors=1),
    ...     queue_size=4, reference_dim=2, positive_dim=1, start_epoch=2,
    ... )
    >>> sampler.bind(["a", "b", "c"])
    >>> reference = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> positives = torch.tensor([[1.0], [2.0], [3.0]])
    >>> for epoch in (1, 2):
    ...     sampler.begin_epoch(epoch)
    ...     drawn = sampler(["a", "b", "c"], reference, positives)
    >>> drawn.tolist()  # b's nearest is c, and the other way round
    [[2.0], [3.0], [2.0]]
    """

    #: SSPS is on: this sampler substitutes positives from `start_epoch` on.
    enabled = True

    _epoch: Tensor
    _fingerprint: Tensor
    _counts: Tensor

    def __init__(
        self,
        strategy: SamplingStrategy,
        queue_size: int,
        reference_dim: int,
        positive_dim: int,
        start_epoch: int,
        num_targets: int = 1,
        seed: int = 1986,
        reference_dtype: str = "float32",
        pseudo_positives: str = "queue",
        coverage: float | list[float] | Schedule | str = 1.0,
        schedule_epochs: int | None = None,
        reference_interval: int = 1,
        last_reference_epoch: int | None = None,
        latest_start_epoch: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("queue_size", queue_size),
            ("reference_dim", reference_dim),
            ("positive_dim", positive_dim),
            ("num_targets", num_targets),
        ):
            check_whole_number(name, value, at_least=1)
        check_whole_number("seed", seed)
        if reference_dtype not in _REFERENCE_DTYPES:
            raise ValueError(
                f"Expected reference_dtype {' or '.join(_REFERENCE_DTYPES)}, "
                f"got {reference_dtype!r}."
            )
        if pseudo_positives not in _PSEUDO_POSITIVES:
            raise ValueError(
                "Expected pseudo_positives queue or read, got "
                f"{pseudo_positives!r}: change pseudo_positives."
            )
        #: Whether partners are read, and nothing is queued or substituted.
        self.reads_partners = pseudo_positives == "read"
        if self.reads_partners and not selects_partners(strategy):
            raise ValueError(
                "Expected a strategy that selects utterances to read, got "
                f"{type(strategy).__name__}, which selects no utterances: set "
                "pseudo_positives to queue, use ClusteringSampling, or give it "
                "a method select_partners."
            )
        if not self.reads_partners and not has_own(strategy, "select"):
            raise ValueError(
                "Expected a strategy that selects rows of the queue, got "
                f"{type(strategy).__name__}, which has no method select: give "
                "it one, or set pseudo_positives to read."
            )
        self.coverage = Coverage(coverage, schedule_epochs, strategy)
        self.layout = PositiveLayout(num_targets, positive_dim)
        strategy.check_spaces(reference_dim, self.layout)
        self.strategy = strategy
        self.plan = EpochPlan(
            start_epoch,
            latest_start_epoch,
            max(strategy.num_fill_epochs, self.coverage.num_fill_epochs),
            reference_interval,
            last_reference_epoch,
        )
        self.seed = seed
        self.bank = ReferenceBank(
            reference_dim, getattr(torch, reference_dtype)
        )
        self.queue = PositiveQueue(
            1 if self.reads_partners else queue_size, positive_dim, num_targets
        )
        if self.reads_partners:
            self.partner_table = PartnerTable()
        self.utterances: UtteranceIndex | None = None
        # The epoch that began last and the SHA-256 of the bound utterances'
        # ids; 0 for none.
        self.register_buffer("_epoch", torch.zeros((), dtype=torch.long))
        self.register_buffer("_fingerprint", torch.zeros(32).byte())
        # Over the epoch: anchors, those with a pseudo-positive, and rows that
        # were not remembered.
        self.register_buffer("_counts", torch.zeros(3, dtype=torch.long))
        self._host_epoch: int | None = None
        #: Of the last step, all ranks: anchors' and drawn utterances (or -1).
        self.last_draw: tuple[Tensor, Tensor] | None = None
        self._last_rows: Tensor | None = None
        self._pending: tuple[Step, Tensor] | None = None
        self._is_checked = self._reference_is_checked = False
        self._partners_are_read = False
        self._is_reported = False

    @property
    def has_clusters(self) -> bool:
        """Whether `cluster_of` knows clusters."""
        return self.strategy.has_clusters

    @property
    def covers_nothing(self) -> bool:
        """Whether coverage is 0 throughout: references are only recorded."""
        return self.coverage.is_none

    @property
    def may_not_begin(self) -> bool:
        """Whether it is not decided yet if SSPS begins at all ("auto")."""
        return self.coverage.is_undecided

    @property
    def gives_up(self) -> bool:
        """Whether SSPS does not begin, since too few draws are sure ("auto").

        From then on nothing is remembered, and no references are needed.
        """
        return self.coverage.gives_up

    @property
    def device(self) -> torch.device:
        """Where the memories are."""
        return self._counts.device

    @property
    def partners(self) -> Tensor:
        """Which utterance each utterance's positive is read from.

        Returns
        -------
        torch.Tensor
            `(num_utterances,)` int64 on the CPU, in the bound order, -1 where
            an utterance keeps its own: before SSPS, and where none was found.
            It is in shared memory and the same from `bind` on, so a
            DataLoader's workers see what `begin_epoch` draws.

        Raises
        ------
        RuntimeError
            Pseudo-positives come out of the queue, or nothing was bound.
        """
        if not self.reads_partners:
            raise RuntimeError(
                "Expected pseudo_positives read for partners, got queue: "
                "change pseudo_positives."
            )
        self._bound()
        self._partners_are_read = True
        return self.partner_table.shared

    # -- utterances --------------------------------------------------------

    def bind(self, dataset: Any) -> None:
        """Size the memories by the utterances of the training set.

        Touches no pipeline. Binding the same utterances again does nothing.

        Arguments
        ---------
        dataset : DynamicItemDataset, torch.utils.data.Dataset, sequence or int
            The training set, the ids of its utterances in order, or how many
            there are. No item is read. In a dataset without `data_ids`, one of
            torch's, and of a number, an utterance's id is its position, from 0.

        Raises
        ------
        ValueError
            No utterance, an id twice, a strategy that does not fit, or what
            has no length or no order, such as a generator or a set.
        RuntimeError
            Already in use with other utterances, or `partners` of others, or
            in another order, are read.
        """
        utterances = UtteranceIndex(find_ids(dataset))
        if self.utterances is not None:
            if utterances.fingerprint == self.utterances.fingerprint:
                return
            if self._partners_are_read:
                raise RuntimeError(
                    "Expected the utterances whose partners are read, in their "
                    f"order, got others or another order ({len(utterances)}, "
                    f"before {len(self.utterances)}): sort and filter the "
                    "dataset before add_partner_view (or sampler.partners), or "
                    "make a new PositiveSampler and add the view by it."
                )
            if self.epoch is not None:
                raise RuntimeError(
                    "PositiveSampler is in use with other utterances "
                    f"({len(self.utterances)}, now {len(utterances)}). Call "
                    "reset() first: it forgets what was remembered."
                )
        before, self.utterances = self.utterances, utterances
        try:
            self._allocate()
        except ValueError:
            self.utterances = before
            raise

    def reset(self) -> None:
        """Forget everything but the bound utterances, for another fit."""
        self.epoch = None
        self.last_draw = self._pending = None
        if self.utterances is not None:
            self._allocate()

    def _allocate(self) -> None:
        utterances, device = self._bound(), self.device
        self.strategy.allocate(len(utterances), self.bank.dim, self.queue)
        self.bank.allocate(len(utterances))
        self.queue.allocate(len(utterances))
        if self.reads_partners:
            self.partner_table.allocate(len(utterances))
        self.coverage.allocate(len(utterances), self.bank.dim)
        self._fingerprint.copy_(_as_tensor(utterances.fingerprint))
        self._counts.zero_()
        self.to(device)

    def _bound(self) -> UtteranceIndex:
        if self.utterances is None:
            raise RuntimeError(
                "PositiveSampler was never bound: call "
                "sampler.bind(train_data) before training or recovering a "
                "checkpoint."
            )
        return self.utterances

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Take up a saved state; refuse one that does not fit, whole."""
        saved = {
            name.removeprefix(prefix): value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        self._check_state(saved)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._host_epoch = int(self._epoch) or None
        self.last_draw = self._pending = None

    def _check_state(self, saved: dict[str, Any]) -> None:
        """Raise before anything is loaded if part of a state does not fit."""
        own = self.state_dict()
        own_parts = [name for name in saved if "." not in name and name in own]
        check_entries({name: saved[name] for name in own_parts}, own)
        fingerprint = saved.get("_fingerprint")
        if fingerprint is not None and bool(fingerprint.any()):
            bound = _as_tensor(self._bound().fingerprint)
            if not torch.equal(fingerprint.cpu(), bound):
                raise RuntimeError(
                    "This checkpoint was written for another training "
                    "manifest: its memories belong to other utterances than "
                    f"the {len(self._bound())} now bound. Resume with the "
                    "manifest it was trained on, or start in another "
                    "output_folder."
                )
            optional = {f"strategy.{n}" for n in self.strategy.optional_entries}
            missing = sorted(own.keys() - saved.keys() - optional)
            if missing:
                raise RuntimeError(
                    "Expected the whole state of a PositiveSampler, got one "
                    f"without {', '.join(missing)}: {_RESUME_AS_SAVED}"
                )
        unknown = sorted(saved.keys() - own.keys())
        if unknown:
            raise RuntimeError(
                "Expected the state of a PositiveSampler like this one, got "
                f"one that has {', '.join(unknown)}, too: {_RESUME_AS_SAVED}"
            )
        check_entries(saved, own)
        ranges = {"_epoch": (0, LAST_EPOCH + 1), "_counts": (0, 2**62)}
        ranges |= ranges_of_parts(
            queue=self.queue, strategy=self.strategy, coverage=self.coverage
        )
        if self.reads_partners:
            num_utterances = len(self.partner_table.partners)
            ranges["partner_table.partners"] = (-1, num_utterances)
        check_ranges(saved, ranges)

    # -- epochs ------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """The epoch that began last, None before the first."""
        # Known to the host: no step waits for a device to read the buffer.
        return self._host_epoch

    @epoch.setter
    def epoch(self, epoch: int | None) -> None:
        self._host_epoch = epoch
        self._epoch.fill_(epoch or 0)

    @property
    def start_epoch(self) -> int:
        """First epoch, from 1, in which positives are substituted."""
        return self.plan.start_epoch

    @property
    def remembering(self) -> bool:
        """Whether a step of the present epoch remembers; never in eval."""
        return self.training and self._is_remembered

    @property
    def renews_references(self) -> bool:
        """Whether a step of the present epoch remembers its references."""
        return self.remembering and self.plan.renews_references(self.epoch or 0)

    @property
    def needs_reference(self) -> bool:
        """Whether to pass references: a step renews them, or is the first.

        The first step of a process only checks them: else an `embed` of
        another shape, say, would be found when SSPS starts, after many epochs.
        Compute them in eval mode, and the run stays the same bit for bit.
        """
        return self.training and (
            self.renews_references or not self._reference_is_checked
        )

    @property
    def substituting(self) -> bool:
        """Whether a step substitutes positives; never in eval mode."""
        return (
            self.remembering
            and self.plan.is_of_ssps(self.epoch or 0)
            and not self.coverage.is_undecided
        )

    @property
    def _is_remembered(self) -> bool:
        """Whether the present epoch is one to remember, in any mode."""
        return self._fills_memories and not self.gives_up

    @property
    def _fills_memories(self) -> bool:
        """Whether the present epoch fills the memories, or comes later."""
        return self.epoch is not None and self.plan.is_remembered(self.epoch)

    def object_to_beginning(self, reason: str) -> None:
        """Say why SSPS had better not begin yet, with coverage "auto".

        Before `begin_epoch`, on every rank the same. What a loss knows of
        itself, such as DINO's centring, may be against it where draws seem
        sure (`ObjectiveModule.explain_unready`).

        Arguments
        ---------
        reason : str
            For the log; empty if nothing is against it any more.
        """
        self.coverage.object_to_beginning(reason)

    def begin_epoch(self, epoch: int | None) -> None:
        """Start a training epoch; clusters when SSPS is on.

        Call it on every rank, in any mode. An epoch that has begun already (a
        resume inside it) is left as it is; None (a test stage) does nothing.

        Arguments
        ---------
        epoch : int or None
            Epoch, from 1.

        Raises
        ------
        ValueError
            No whole number from 1 on, or a strategy that does not work on the
            sampler's device.
        RuntimeError
            Never bound, an epoch that goes backwards, or nothing remembered
            when substitution starts.
        """
        if epoch is None:
            return
        epoch = whole_epoch(epoch)
        self.strategy.check_device(self.device)
        if epoch == self.epoch:
            return
        self._bound()
        if self.epoch is not None and epoch < self.epoch:
            raise RuntimeError(
                f"Epoch {epoch} begins after epoch {self.epoch}: epochs only "
                "go forward. For another fit with the same sampler call "
                "sampler.reset() first."
            )
        is_warned = self._report_epoch()
        if self.plan.is_of_ssps(epoch) and not self.gives_up:
            self._prepare(epoch)
            fault = None if is_warned else self._diagnosis().find_fault()
            if fault is not None:
                logger.warning("SSPS epoch %d: %s.", epoch, fault)
            self._warn_if_given_up(epoch)
        elif self._is_remembered:
            self._observe()
        self.epoch = epoch
        self._counts.zero_()
        self.last_draw = self._pending = None
        self._is_checked = self._is_reported = False

    def _warn_if_given_up(self, epoch: int) -> None:
        if self.gives_up:
            logger.warning(
                "SSPS does not begin, up to epoch %d, and the run goes on "
                "without it: %s, so speakers are not told apart well enough. "
                "Augmentation, a longer training before (ssps_start_epoch) or "
                "more recordings of each speaker help; with another coverage "
                "it begins anyway.",
                epoch,
                self.coverage.explain_waiting(),
            )

    def end_epoch(self) -> None:
        """Log the epoch's coverage, and warn of what is wrong with it.

        Optional: `begin_epoch` does it for the epoch before, so only the last
        epoch of a run is else left out.
        """
        self._report_epoch()

    def _observe(self) -> None:
        """Let the strategy see the references of an epoch before SSPS."""
        if not bool(self.bank.seen.any()):
            return
        with self._full_precision():
            self._observe_references()
        broadcast_buffers(self.strategy)
        broadcast_buffers(self.coverage)

    def _observe_references(self) -> None:
        self.strategy.observe(self.bank)
        self.coverage.observe(self.bank)

    def _prepare(self, epoch: int) -> None:
        if not bool(self.bank.seen.any()):
            raise RuntimeError(
                f"SSPS starts in epoch {epoch} but nothing is remembered"
                f"{self._diagnosis().explain_nothing_remembered()}"
            )
        ssps_epoch = self.plan.ssps_epoch(epoch)
        self.strategy.set_epoch(ssps_epoch)
        # Before the first epoch there may have been a warm start.
        are_old = not (
            self.epoch is None or self.plan.renews_references(self.epoch)
        )
        if are_old:
            logger.info(
                "SSPS epoch %d draws by the references of an earlier epoch: "
                "in epoch %d none were made.",
                epoch,
                self.epoch,
            )
        try:
            with self._full_precision():
                if not are_old:
                    self._observe_references()
                self.strategy.prepare(self.bank, self.queue, self.seed, epoch)
                # Ranks agree by now, unless their devices round differently.
                broadcast_buffers(self.strategy)
                self.coverage.prepare(
                    self.strategy, self.bank, self.seed, epoch, ssps_epoch
                )
                broadcast_buffers(self.coverage)
        except ValueError as error:
            explanation = self._diagnosis().explain_dropped()
            if not explanation:
                raise
            raise ValueError(f"{error} Note{explanation}") from error
        if self.reads_partners or self.coverage.is_undecided:
            self._draw_for_all(epoch)
        self.strategy.end_preparation()
        metrics = self.strategy.metrics()
        if metrics:
            logger.info("SSPS epoch %d: %s", epoch, metrics)

    def _draw_for_all(self, epoch: int) -> None:
        """Draw for every utterance that was seen: its partner, if it is read.

        Else, how many of the draws are sure is all that is wanted.
        """
        with self._full_precision():
            partners = draw_partners(
                self.strategy,
                self.coverage,
                self.bank,
                self.queue,
                self.seed,
                epoch,
            )
        num_seen = int(self.bank.seen.sum())
        self.coverage.weigh((partners >= 0).sum(), num_seen)
        broadcast_buffers(self.coverage)
        self.coverage.decide(self.plan.is_last_to_begin(epoch), self.strategy)
        if self.reads_partners:
            if self.coverage.is_undecided or self.gives_up:
                partners.fill_(-1)
            elif not self._partners_are_read:
                logger.warning(
                    "SSPS epoch %d drew partners (pseudo_positives read), but "
                    "nobody reads them, so this is training without SSPS: "
                    "call ssps_plugin.dataio.add_partner_view, or cut views "
                    "from the files of sampler.partners, or change "
                    "pseudo_positives to queue.",
                    epoch,
                )
            self.partner_table.write(partners)
            broadcast_buffers(self.partner_table)
            self.partner_table.publish()

    def _report_epoch(self) -> bool:
        """Log coverage and warn of it; return whether a fault was named."""
        if self._is_reported or not self._is_remembered:
            return False
        self._is_reported = True
        return self._diagnosis().log()

    def _diagnosis(self) -> EpochDiagnosis:
        anchors, covered, dropped = self._counts.tolist()
        return EpochDiagnosis(
            epoch=self.epoch or 0,
            plan=self.plan,
            anchors=anchors,
            covered=covered,
            dropped=dropped,
            num_utterances=len(self._bound()),
            strategy=self.strategy,
            coverage=self.coverage,
            bank=self.bank,
            queue=self.queue,
            reads_partners=self.reads_partners,
        )

    # -- steps -------------------------------------------------------------

    def forward(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Substitute positives, then remember the original ones.

        Arguments
        ---------
        ids : sequence of str or torch.Tensor
            Utterance ids, or their positions in the bound order as
            `(batch,)` int64. May be None outside training.
        reference : torch.Tensor
            `(batch, reference_dim)`, L2-normalised. May be None, and is not
            looked at, where `needs_reference` is False.
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`,
            any float dtype. Of two utterances with two targets each, `(2, 2,
            dim)`, the targets come first.

        Returns
        -------
        torch.Tensor
            Shape and dtype of `positives`. Drawn rows carry no gradient, the
            others are the anchor's own positives with theirs. All targets of
            an anchor come from one utterance.

        Raises
        ------
        RuntimeError
            Training without `bind` or `begin_epoch`.
        ValueError
            Shapes, devices or ids that do not fit; a batch over all ranks
            larger than the queue.
        """
        substituted = self.substitute(ids, reference, positives)
        self.remember()
        return substituted

    def substitute(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        """Substitute positives, and remember nothing yet.

        The first half of `forward`, for a recipe that only knows later whether
        its step counts: `remember` or `discard` follows, on every rank.

        Arguments
        ---------
        ids, reference, positives
            As for `forward`.

        Returns
        -------
        torch.Tensor
            As from `forward`.
        """
        self._pending = None
        if not self.training:
            return positives
        self._bound()
        if self.epoch is None:
            raise RuntimeError(
                "begin_epoch was never called: call sampler.begin_epoch(epoch) "
                "when a training epoch starts (on_stage_start, Stage.TRAIN)."
            )
        if not self.remembering:
            self._check_early(ids, reference, positives)
            return positives
        with self._full_precision():
            step = self._checked(
                ids, reference, positives, self.renews_references
            )
            if not self.renews_references:
                step = self._with_kept_references(step)
            if not self.substituting:
                self._gather(step, torch.full_like(step.index, -1))
                return positives
            if self.reads_partners:
                self._gather(step, self.partner_table.of(step.index))
                return positives
            ssps_epoch = self.plan.ssps_epoch(self.epoch)
            if self.coverage.fraction(ssps_epoch) == 0:
                self._gather(step, torch.full_like(step.index, -1))
                return positives
            anchors = Anchors(step.index, step.reference, self.seed, self.epoch)
            rows = self.strategy.select(anchors, self.queue)
            if not step.has_new_references:
                rows = torch.where(self.bank.seen[step.index], rows, -1)
            if self.coverage.is_partial:
                drawn = self.strategy.drawn_utterances(rows, self.queue)
                is_used = self.coverage.uses(step.index, drawn)
                rows = torch.where(is_used, rows, -1)
            pool = self.strategy.pool(self.queue)
            substituted = substitute(step.positives, pool, rows)
            self._gather(step, rows)
        return self.layout.restore(substituted, positives)

    def remember(self) -> None:
        """Write what the last `substitute` saw: the second half of `forward`.

        References and original positives of all ranks. A row that is not
        finite is not remembered, and counted.
        """
        if self._pending is None:
            return
        (step, rows), self._pending = self._pending, None
        with self._full_precision():
            valid = step.finite_rows(self.bank.references.dtype)
            repeats = resolve_repeats(step.index)
            if step.has_new_references:
                self.bank.write(step.index, step.reference, valid, repeats)
            if not self.reads_partners:
                slots = self.queue.enqueue(
                    step.index, step.positives, valid, repeats
                )
                self.strategy.on_enqueued(
                    slots, step.index, self.bank, self.queue
                )
        if self.last_draw is not None and self.substituting:
            self.strategy.on_drawn(*self.last_draw)
        every = torch.ones_like(valid)
        self._counts += torch.stack([every, rows >= 0, ~valid]).sum(1)

    def discard(self) -> None:
        """Forget what the last `substitute` saw: its step does not count."""
        self._pending = self.last_draw = None

    def warm_start(
        self,
        batches: Iterable[tuple[Sequence[str] | Tensor, Tensor | None, Tensor]],
    ) -> None:
        """Fill the memories from an encoder that is already trained.

        One pass over the training set, in the order in which the queue is to
        hold it, with the encoder in eval mode; no training epoch is lost.

        Arguments
        ---------
        batches : iterable of (ids, reference, positives)
            As `forward` takes them.

        Raises
        ------
        RuntimeError
            Nothing is remembered: there is no batch, or no row is finite.
        """
        self._bound()
        for ids, reference, positives in batches:
            step = self._checked(ids, reference, positives)
            with self._full_precision():
                self._gather(step, torch.full_like(step.index, -1))
            self.remember()
        if not bool(self.bank.seen.any()):
            num_rows = int(self._counts[0])
            raise RuntimeError(
                "Expected finite references and positives from a warm start, "
                f"got {num_rows} rows, none of them finite: warm start from an "
                "encoder that is trained, over the training set."
            )
        self._counts.zero_()

    def _full_precision(self) -> AbstractContextManager[Any]:
        """Keep a caller's autocast away from the memories."""
        device_type = self.device.type
        if torch.is_autocast_enabled(device_type):
            return torch.autocast(device_type, enabled=False)
        return nullcontext()

    def _checked(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
        needs_reference: bool = True,
    ) -> Step:
        step = check_step(
            ids,
            reference,
            positives,
            utterances=self._bound(),
            layout=self.layout,
            reference_dim=self.bank.dim,
            device=self.device,
            needs_reference=needs_reference,
        )
        if reference is not None and not self._reference_is_checked:
            self._reference_is_checked = True
            warn_of_norms(step.reference)
        return step

    def _with_kept_references(self, step: Step) -> Step:
        """Return a step with what is remembered in place of its references."""
        kept = self.bank.references[step.index].float()
        return Step(step.index, kept, step.positives, has_new_references=False)

    def _check_early(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> None:
        """Find in a first step what would fail when SSPS starts."""
        is_new = reference is not None and not self._reference_is_checked
        if not is_new and (self._is_checked or ids is None):
            return
        step = self._checked(ids, reference, positives, needs_reference=False)
        self.check_batch(len(step.index) * world_size())
        self._is_checked = True

    def _gather(self, step: Step, rows: Tensor) -> None:
        """Keep what all ranks saw, until it is remembered or discarded."""
        index, reference, positives, rows = gather_rows(
            step.index,
            step.reference,
            step.positives.transpose(0, 1),  # rows first
            rows,
        )
        step = Step(
            index,
            reference,
            positives.transpose(0, 1),
            step.has_new_references,
        )
        self.check_batch(len(step.index))
        drawn = rows
        if not self.reads_partners:
            drawn = self.strategy.drawn_utterances(rows, self.queue)
        self.last_draw, self._last_rows = (step.index, drawn), rows
        self._pending = step, rows

    # -- what others ask ---------------------------------------------------

    def check_batch(self, num_rows: int) -> None:
        """Check that the queue takes the utterances of a step.

        Arguments
        ---------
        num_rows : int
            How many they are, over all ranks.

        Raises
        ------
        ValueError
            They are more than `queue_size`.
        """
        if num_rows > self.queue.size and not self.reads_partners:
            raise ValueError(
                f"A step brings {num_rows} utterances (over all ranks), "
                f"but queue_size is {self.queue.size}. Set queue_size to at "
                "least that, or change global_batch_size."
            )

    def check_epoch(self, num_utterances: int) -> None:
        """Check that an epoch shows enough utterances to begin with.

        An epoch that leaves its last, smaller batch out shows fewer than there
        are. Where the memories are filled in more than one epoch, or were
        filled by `warm_start`, more are seen.

        Arguments
        ---------
        num_utterances : int
            How many an epoch shows, over all ranks.

        Raises
        ------
        ValueError
            They are fewer than the strategy needs, such as clusters.
        """
        if self.epoch is None and self.plan.is_filled_in_one_epoch:
            what = "utterances that an epoch shows"
            self.strategy.check_enough(num_utterances, what)
            self.coverage.check_enough(num_utterances, what)

    def may_begin_in(self, epoch: int) -> bool:
        """Whether SSPS may begin in an epoch, as far as is known before it."""
        if epoch > self.start_epoch:
            return self.coverage.is_undecided
        return epoch == self.start_epoch

    def cluster_of(self, ids: Sequence[str] | Tensor) -> Tensor:
        """Cluster of every utterance of a batch, -1 where there is none.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64. With it a loss can leave out false negatives.
        """
        index = self._bound().positions(ids, self.device)
        return self.strategy.cluster_of(index)

    def cluster_of_positives(self) -> Tensor | None:
        """Cluster of what was used as each positive of the last step.

        Returns
        -------
        torch.Tensor or None
            `(batch over all ranks,)` int64 in rank order, -1 where there is
            none; None before the epoch's first step.
        """
        if self.last_draw is None or self._last_rows is None:
            return None
        return self.strategy.cluster_of_positives(
            *self.last_draw, self._last_rows
        )

    def clusters(self) -> Tensor:
        """Cluster of every bound utterance, `(num_utterances,)` int64."""
        every = torch.arange(len(self._bound()), device=self.device)
        return self.strategy.cluster_of(every)

    def metrics(self) -> dict[str, float]:
        """Metrics of the epoch so far, to log; waits for the device.

        Returns
        -------
        dict of str to float
            coverage: fraction of anchors with a pseudo-positive. queue_fill:
            fraction of slots in use, where there is a queue. seen: fraction of
            utterances with a reference. effective_rank: on how many directions
            the references lie. not_remembered: rows that were not finite. Then
            those of the coverage, where it is not always 1, and the strategy's
            own. Empty in epochs that remember nothing.
        """
        if not self._fills_memories:
            return {}
        ssps_epoch = self.plan.ssps_epoch(self.epoch or 0)
        if self.gives_up:
            return {"coverage": 0.0, **self.coverage.metrics(ssps_epoch)}
        anchors, covered, dropped = self._counts.tolist()
        row = {
            "coverage": covered / max(anchors, 1),
            "not_remembered": float(dropped),
        }
        if not self.reads_partners:
            row["queue_fill"] = float(self.queue.num_filled()) / self.queue.size
        row["seen"] = float(self.bank.seen.float().mean())
        with self._full_precision():
            row["effective_rank"] = effective_rank(self.bank.read_seen()[1])
        row |= self.coverage.metrics(ssps_epoch)
        return row | self.strategy.metrics()

    def figures(self) -> dict[str, float]:
        """Return `metrics()`, under the name that it had in 0.1.0's README."""
        return self.metrics()


def _as_tensor(digest: bytes) -> Tensor:
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)
