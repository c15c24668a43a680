"""The brain component of SSPS: substitutes positives, remembers what it saw."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.distributed import (
    broadcast_buffers,
    gather_rows,
    world_size,
)
from ssps_plugin.memory import (
    BoundMemories,
    Step,
    resolve_repeats,
    substitute,
)
from ssps_plugin.sampling import Anchors, SamplingStrategy

logger = get_logger(__name__)

_LOW_COVERAGE = 0.4


class PositiveSampler(BoundMemories):
    """Substitute same-utterance positives by pseudo-positives.

    Put it into `Brain.modules` and the checkpointer's recoverables, `bind` it
    to the training set, call `begin_epoch` when a training epoch starts, and
    pass every step's positives through it. It has no parameters; everything
    that must survive is in its `state_dict`.

    Epochs before `start_epoch - 1` change nothing, the one before
    `start_epoch` fills the memories, and from `start_epoch` on positives are
    substituted.

    Arguments
    ---------
    strategy : SamplingStrategy
        How a pseudo-positive is selected.
    queue_size : int
        Slots of the positive queue, at least the batch over all ranks.
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
        Of the reference memory, "float32" or "float16" for half the memory.

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
    ) -> None:
        super().__init__(
            queue_size,
            reference_dim,
            positive_dim,
            num_targets,
            reference_dtype,
        )
        if start_epoch < 1:
            raise ValueError(
                f"start_epoch must be at least 1, got {start_epoch}."
            )
        strategy.check_spaces(reference_dim, self.layout)
        self.strategy = strategy
        self.start_epoch = start_epoch
        self.seed = seed
        self.last_draw: tuple[Tensor, Tensor] | None = None
        self._last_rows: Tensor | None = None
        self._is_checked = False

    def reset(self) -> None:
        """Forget everything but the bound utterances, for another fit."""
        self.last_draw = None
        super().reset()

    def _allocate(self) -> None:
        num_utterances = len(self._bound())
        self.strategy.allocate(num_utterances, self.bank.dim, self.queue)
        super()._allocate()

    # -- epochs ------------------------------------------------------------

    @property
    def remembering(self) -> bool:
        """Whether a step remembers, so needs references; never in eval."""
        return self.training and self._has_reached(self.start_epoch - 1)

    @property
    def substituting(self) -> bool:
        """Whether a step substitutes positives; never in eval mode."""
        return self.training and self._has_reached(self.start_epoch)

    def _has_reached(self, epoch: int) -> bool:
        return self.epoch is not None and self.epoch >= epoch

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
        RuntimeError
            Never bound, an epoch that goes backwards, or nothing remembered
            when substitution starts.
        """
        if epoch is None or epoch == self.epoch:
            return
        self._bound()
        if self.epoch is not None and epoch < self.epoch:
            raise RuntimeError(
                f"Epoch {epoch} begins after epoch {self.epoch}: epochs only "
                "go forward. For another fit with the same sampler call "
                "sampler.reset() first."
            )
        self._log_coverage()
        if epoch >= self.start_epoch:
            self._prepare(epoch)
        self.epoch = epoch
        self.counts.reset()
        self.last_draw = None
        self._is_checked = False

    def _prepare(self, epoch: int) -> None:
        if not bool(self.bank.seen.any()):
            raise RuntimeError(
                f"SSPS starts in epoch {epoch} but nothing is remembered. "
                "Train the epoch before with SSPS in place (start_epoch "
                f"{self.start_epoch} fills the memories in epoch "
                f"{self.start_epoch - 1}), or call warm_start(...) with an "
                "encoder that is already trained."
            )
        with self._full_precision():
            self.strategy.prepare(self.bank, self.queue, self.seed, epoch)
        # Ranks agree by now, unless their devices round differently.
        broadcast_buffers(self.strategy)
        figures = self.strategy.figures()
        if figures:
            logger.info("SSPS epoch %d: %s", epoch, figures)

    def _log_coverage(self) -> None:
        if self._has_reached(self.start_epoch):
            coverage = self.figures()["coverage"]
            logger.info("SSPS epoch %d: coverage %.3f", self.epoch, coverage)
            if coverage < _LOW_COVERAGE:
                logger.warning(
                    "SSPS found a pseudo-positive for %.1f %% of the anchors "
                    "of epoch %d only, the others kept their own positives: "
                    "raise queue_size, or lower num_clusters.",
                    100 * coverage,
                    self.epoch,
                )

    # -- steps -------------------------------------------------------------

    def _full_precision(self) -> AbstractContextManager[Any]:
        """Keep a caller's autocast away from the memories."""
        device_type = self.device.type
        if torch.is_autocast_enabled(device_type):
            return torch.autocast(device_type, enabled=False)
        return nullcontext()

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
            `(batch, reference_dim)`, L2-normalised. May be None outside
            training and in epochs that remember nothing.
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`,
            any float dtype.

        Returns
        -------
        torch.Tensor
            Shape and dtype of `positives`. Rows drawn carry no gradient, the
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
            return self._substitute_and_remember(ids, reference, positives)

    def _substitute_and_remember(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Tensor:
        step = self._checked(ids, reference, positives)
        if not self.substituting:
            self._remember(step, torch.full_like(step.index, -1))
            return positives
        anchors = Anchors(
            step.index, step.reference, self.seed, self.epoch or 0
        )
        rows = self.strategy.select(anchors, self.queue)
        pool = self.strategy.pool(self.queue)
        substituted = substitute(step.positives, pool, rows)
        self._remember(step, rows)
        return self.layout.restore(substituted, positives)

    def _check_early(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> None:
        """Find in an epoch's first step what would else fail at the start."""
        if self._is_checked or ids is None:
            return
        if reference is None:
            reference = positives.new_zeros(len(ids), self.bank.dim)
        step = self._checked(ids, reference, positives)
        self._check_fits_queue(len(step.index) * world_size())
        self._is_checked = True

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
        """
        self._bound()
        for ids, reference, positives in batches:
            step = self._checked(ids, reference, positives)
            with self._full_precision():
                self._remember(step, torch.full_like(step.index, -1))
        self.counts.reset()

    def _remember(self, step: Step, rows: Tensor) -> None:
        """Write what all ranks saw: references and original positives."""
        index, reference, positives, rows = gather_rows(
            step.index,
            step.reference,
            step.positives.transpose(0, 1),  # rows first
            rows,
        )
        step = Step(index, reference, positives.transpose(0, 1))
        self._check_fits_queue(len(step.index))
        drawn = self.strategy.drawn_utterances(rows, self.queue)
        self.last_draw, self._last_rows = (step.index, drawn), rows
        # A row that is not finite is not remembered, and counted.
        valid = step.finite_rows()
        repeats = resolve_repeats(step.index)
        self.bank.write(step.index, step.reference, valid, repeats)
        slots = self.queue.enqueue(step.index, step.positives, valid, repeats)
        self.strategy.remembered(slots, step.index, self.bank, self.queue)
        self.counts.add(rows >= 0, valid)

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
        """Cluster of what stood for each positive of the last step.

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

    # -- figures -----------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Figures of the epoch so far, to log; waits for the device.

        Returns
        -------
        dict of str to float
            Those of `BoundMemories`, and the strategy's own. None in epochs
            that remember nothing.
        """
        if not self._has_reached(self.start_epoch - 1):
            return {}
        return {**super().figures(), **self.strategy.figures()}
