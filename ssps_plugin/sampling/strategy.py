"""Base class of the sampling strategies, and the whitening they share."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import is_from_to
from ssps_plugin.memory import PositiveLayout, PositiveQueue, ReferenceBank
from ssps_plugin.sampling.draw import check_rank_decay, draw_uniform

# Axes with less than this fraction of the largest variance are noise, or
# empty: whitening would amplify them without bound.
_SMALLEST_VARIANCE = 1e-6
# A largest variance below this is the rounding of float32: the references are
# one and the same, and there is no axis to be damped.
_NO_VARIANCE = 1e-12
# References centred at once: a copy of all of them would take gigabytes.
_CHUNK_ROWS = 2**16


@dataclass(frozen=True)
class Anchors:
    """Anchors of one step: all that a strategy may know of them.

    Arguments
    ---------
    index : torch.Tensor
        `(batch,)` int64, the utterances.
    reference : torch.Tensor
        `(batch, reference_dim)` float32, L2-normalised.
    seed : int
        Seed of the draws.
    epoch : int
        Epoch of the draws.
    """

    index: Tensor
    reference: Tensor
    seed: int
    epoch: int

    def draw_uniform(self, stream: int) -> Tensor:
        """Draw a number in [0, 1) for every anchor, `(batch,)` float64."""
        return draw_uniform(self.seed, self.epoch, self.index, stream)


class SamplingStrategy(nn.Module):
    """Base class: select a row to use in place of each anchor's positive.

    A strategy reads the memories and never writes them. It sees neither labels
    nor the embeddings that are substituted.

    Arguments
    ---------
    whitening : float
        Power of the transform of the references: 0 is the published method, 1
        full whitening (see `Whitening`).
    rank_decay : float
        Prefer nearer ones, p(rank) proportional to exp(-rank_decay · rank); 0
        draws uniformly.

    Raises
    ------
    ValueError
        An argument is out of range.
    """

    #: Whether references are drawn. They can be used in place of positives
    #: only if both are in one space.
    draws_references = False
    #: Whether `select_partners` finds utterances to read.
    selects_partners = True
    #: Whether `cluster_of` finds clusters.
    has_clusters = False
    #: Whether `confidence` is known, by which `coverage` goes.
    has_confidence = False
    #: Whether it draws nothing for anchors of which it is not sure: then a low
    #: coverage is no fault.
    holds_back = False
    #: How many epochs before SSPS starts are remembered: of the last one, or
    #: more where the strategy compares epochs.
    num_fill_epochs = 1
    #: Entries of the state that one of an earlier version may lack.
    optional_entries: tuple[str, ...] = ()

    def __init__(self, whitening: float, rank_decay: float) -> None:
        super().__init__()
        check_rank_decay(rank_decay)
        self.rank_decay = rank_decay
        self.whitening = Whitening(whitening)

    def check_spaces(self, reference_dim: int, layout: PositiveLayout) -> None:
        """Raise a ValueError if references and positives do not fit."""

    def check_device(self, device: torch.device) -> None:
        """Raise a ValueError if the strategy does not work on a device."""

    def allocate(
        self, num_utterances: int, reference_dim: int, queue: PositiveQueue
    ) -> None:
        """Size the buffers; raise a ValueError if the sizes do not fit."""
        self.whitening.allocate(reference_dim)

    def set_epoch(self, ssps_epoch: int) -> None:
        """Take note of which epoch of SSPS begins, from 0; before `prepare`."""

    def observe(self, bank: ReferenceBank) -> None:
        """Take note of references that are new.

        Called when an epoch begins after one that renewed them, and before
        `prepare`: in an epoch of SSPS, and before SSPS starts where
        `num_fill_epochs` is above 1.
        """

    def prepare(
        self, bank: ReferenceBank, queue: PositiveQueue, seed: int, epoch: int
    ) -> None:
        """Do once per epoch all that does not depend on the batch, if any.

        References may be those of the epoch before: see `observe`.
        """

    def end_preparation(self) -> None:
        """Let go of what only the start of an epoch needs."""

    def confidence(self, bank: ReferenceBank, seed: int, epoch: int) -> Tensor:
        """Return how sure the pseudo-positive of every utterance is.

        Called after `prepare`, where not all anchors are to be covered. Only
        its order matters.

        Returns
        -------
        torch.Tensor
            `(num_utterances,)` float32, the larger the surer, -inf where there
            is nothing to draw.
        """
        raise NotImplementedError

    def select(self, anchors: Anchors, queue: PositiveQueue) -> Tensor:
        """Select a row of `pool` for every anchor.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, -1 where none is found.
        """
        raise NotImplementedError

    def select_partners(self, anchors: Anchors, bank: ReferenceBank) -> Tensor:
        """Select an utterance to read for every anchor, among all seen.

        Called after `prepare`, with the anchors' references of the bank.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, other utterances than the anchors', -1 where none
            is found.
        """
        raise NotImplementedError

    def pool(self, queue: PositiveQueue) -> Tensor:
        """Return the rows to select, `(num_targets, num_rows, dim)`."""
        return queue.positives

    def drawn_utterances(self, rows: Tensor, queue: PositiveQueue) -> Tensor:
        """Return the utterance of every selected row, -1 for none."""
        return queue.utterances_in(rows)

    def cluster_of(self, index: Tensor) -> Tensor:
        """Return the cluster of every utterance, `(batch,)`, -1 for none."""
        return torch.full_like(index, -1)

    def cluster_of_positives(
        self, index: Tensor, drawn: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the cluster of what is used as every anchor's positive.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        drawn : torch.Tensor
            `(batch,)` int64, as `drawn_utterances` returned them.
        rows : torch.Tensor
            `(batch,)` int64, as `select` returned them.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64, -1 for none; the anchor's own cluster where it
            kept its positive.
        """
        return self.cluster_of(torch.where(drawn >= 0, drawn, index))

    def on_enqueued(
        self,
        slots: Tensor,
        index: Tensor,
        bank: ReferenceBank,
        queue: PositiveQueue,
    ) -> None:
        """Take note of what a step wrote to the memories.

        Arguments
        ---------
        slots : torch.Tensor
            `(batch,)` int64, as `PositiveQueue.enqueue` returned them.
        index : torch.Tensor
            `(batch,)` int64, the utterances written to them.
        bank : ReferenceBank
            The reference memory, after the step.
        queue : PositiveQueue
            The positive queue, after the step.
        """

    def on_drawn(self, index: Tensor, drawn: Tensor) -> None:
        """Take note of what a step drew, on all ranks.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the anchors' utterances.
        drawn : torch.Tensor
            `(batch,)` int64, the utterance drawn for each, -1 for none.
        """

    def check_enough(self, num_utterances: int, what: str) -> None:
        """Raise a ValueError for too few utterances to begin with.

        Arguments
        ---------
        num_utterances : int
            How many there are.
        what : str
            What they are, for the error: "utterances of the training set".
        """

    def metrics(self) -> dict[str, float]:
        """Return what is worth logging once per epoch."""
        return {}

    def explain_holding_back(self) -> str:
        """Say why anchors kept their own, where the strategy holds back."""
        return "the strategy is not sure of what they might draw"

    def find_fault(self) -> str | None:
        """Say what is wrong with what `prepare` found, and what to try."""
        return None

    @property
    def is_conclusive(self) -> bool:
        """Whether draws that it holds back say that nobody is told apart.

        Not where it cannot know yet. By it, `coverage: auto` gives up.
        """
        return True

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {}


class PrincipalAxes(NamedTuple):
    """What references vary along.

    Arguments
    ---------
    mean : torch.Tensor
        `(dim,)` float64.
    variance : torch.Tensor
        `(dim,)` float64, along each axis, ascending; rounding may make the
        least ones negative.
    axes : torch.Tensor
        `(dim, dim)` float64, an axis in each column.
    """

    mean: Tensor
    variance: Tensor
    axes: Tensor


def principal_axes(references: Tensor) -> PrincipalAxes | None:
    """Find the principal axes of references, in chunks.

    Arguments
    ---------
    references : torch.Tensor
        `(num, dim)`, any float dtype, at least one.

    Returns
    -------
    PrincipalAxes or None
        None where all references are the same, up to rounding.
    """
    # Chunk by chunk: a sum in float64 would copy all of them.
    total = torch.stack(
        [
            chunk.sum(0, dtype=torch.float64)
            for chunk in references.split(_CHUNK_ROWS)
        ]
    ).sum(0)
    mean = total / len(references)
    dim = references.shape[1]
    covariance = torch.zeros(dim, dim, device=mean.device).double()
    for chunk in references.split(_CHUNK_ROWS):
        centred = chunk.float() - mean.float()
        covariance += (centred.T @ centred).double()
    variance, axes = torch.linalg.eigh(covariance / len(references))
    if float(variance[-1]) < _NO_VARIANCE * max(float(mean @ mean), 1e-12):
        return None
    return PrincipalAxes(mean, variance, axes)


class Whitening(nn.Module):
    """Damp the dominant axes of the references before comparing them.

    A few axes hold most of the variance of a self-supervised representation
    and dominate its cosines. The references are centred, each principal axis
    is divided by its standard deviation to the given power, and the result is
    L2-normalised again. It is rotated back to the axes of the references:
    that changes no cosine, and keeps centroids of two epochs comparable.

    Arguments
    ---------
    power : float
        In [0, 1]. 0 leaves references as they are (the published method), 1
        whitens fully.

    Raises
    ------
    ValueError
        `power` is out of range.

    Example
    -------
    >>> references = torch.tensor([[0.9, 0.1], [0.9, -0.1], [-0.9, 0.1]])
    >>> whitening = Whitening(power=0.0)
    >>> whitening.allocate(2)
    >>> whitening.fit(references)
    >>> bool(torch.equal(whitening(references), references))
    True
    """

    mean: Tensor
    transform: Tensor

    def __init__(self, power: float) -> None:
        super().__init__()
        if not is_from_to(0, 1, power):
            raise ValueError(
                f"Expected whitening in [0, 1], got {power!r}: change "
                "whitening (0 as published, 1 whitens fully)."
            )
        self.power = power
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("transform", torch.empty(0, 0))

    def allocate(self, dim: int) -> None:
        """Size the transform for references of `dim` dimensions."""
        if self.power > 0.0:
            self.mean = self.mean.new_zeros(dim)
            self.transform = torch.eye(dim, device=self.mean.device)

    def fit(self, references: Tensor) -> None:
        """Estimate the axes from references `(num, dim)`, any float dtype.

        References that are all the same stay as they are.
        """
        if self.power == 0.0:
            return
        space = principal_axes(references)
        if space is None:
            self.mean.zero_()
            self.transform.copy_(torch.eye(len(self.mean)))
            return
        mean, variance, axes = space
        variance = variance.clamp(min=float(variance[-1]) * _SMALLEST_VARIANCE)
        scale = variance.clamp(min=1e-30) ** (-self.power / 2)
        self.mean.copy_(mean)
        self.transform.copy_((axes * scale) @ axes.T)

    def forward(self, references: Tensor) -> Tensor:
        """Transform references `(num, dim)`; float32, L2-normalised."""
        if self.power == 0.0:
            return references
        centred = references.float() - self.mean
        return F.normalize(centred @ self.transform, dim=-1)
