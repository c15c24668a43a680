"""What the sampler remembers: clusters, and draws that are made once more.

The memories come from a checkpoint, and the draws from the sampler's own
strategy: a draw is a function of (seed, epoch, utterance). Nothing of the run
is changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ssps_plugin.dataio.dataset import Table
from ssps_plugin.pretrained.trained_run import kept_random_states
from ssps_plugin.report.labels import Labels, number_labels
from ssps_plugin.report.run import Run
from ssps_plugin.sampling import Anchors
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.configuration import Configuration

# Anchors whose draws are counted: the error of a fraction is below 0.4 %.
_NUM_COUNTED = 20_000


class NotAvailableError(RuntimeError):
    """A part of the report that cannot be made; the message says why."""


@dataclass(frozen=True)
class Draws:
    """Anchors and what was drawn for them.

    Arguments
    ---------
    anchors : numpy.ndarray
        `(num,)`, utterances.
    drawn : numpy.ndarray
        `(num,)`, the utterance drawn for each.
    cosines : numpy.ndarray
        `(num,)`, the similarity of their references.
    same_speaker, same_recording : numpy.ndarray or None
        `(num,)` bool; None without labels.
    num_anchors : int
        How many anchors were asked for; some may have drawn nothing.
    """

    anchors: NDArray[np.int64]
    drawn: NDArray[np.int64]
    cosines: NDArray[np.float32]
    same_speaker: NDArray[np.bool_] | None
    same_recording: NDArray[np.bool_] | None
    num_anchors: int


class Memories:
    """The sampler of a run, as its newest checkpoint has it.

    Arguments
    ---------
    run : Run
        A run with SSPS.
    table : Table
        Its training manifest.

    Raises
    ------
    NotAvailableError
        There is no SSPS, no checkpoint, or one of other utterances.
    """

    def __init__(self, run: Run, table: Table) -> None:
        if run.start_epoch is None:
            raise NotAvailableError("this run is without SSPS")
        sampler = _build_sampler(run)
        sampler.bind(table.ids)
        checkpointer = AtomicCheckpointer(
            os.fspath(run.folder / "save"), {"sampler": sampler}
        )
        try:
            checkpoint = checkpointer.load_newest()
        except RuntimeError as error:
            raise NotAvailableError(str(error)) from error
        if checkpoint is None:
            raise NotAvailableError(
                f"there is no checkpoint in {run.folder / 'save'}"
            )
        self.sampler = sampler
        self.epoch: int = sampler.epoch or 0
        #: The checkpoint was saved inside the epoch, not at its end.
        self.is_inside_epoch = not checkpoint.meta.get("end-of-epoch", True)

    @property
    def has_draws(self) -> bool:
        """Whether SSPS has started."""
        return self.epoch >= self.sampler.start_epoch

    @property
    def draws_centroids(self) -> bool:
        """Whether a centroid is substituted, and no utterance."""
        return bool(self.sampler.strategy.draws_references)

    def references(self) -> tuple[NDArray[np.int64], Tensor]:
        """Return the utterances that have a reference, and the references."""
        index, references = self.sampler.bank.read_seen()
        return index.numpy(), F.normalize(references.float(), dim=1)

    def cluster_sizes(self) -> NDArray[np.int64]:
        """Count the utterances of every cluster.

        Raises
        ------
        NotAvailableError
            The strategy makes no clusters, or has not made any yet.
        """
        if not self.sampler.has_clusters:
            raise NotAvailableError(
                "this run's strategy draws among nearest neighbours, without "
                "clusters"
            )
        if not self.has_draws:
            raise NotAvailableError(_not_started(self))
        clusters = self.sampler.clusters()
        num = self.sampler.strategy.num_clusters
        return clusters[clusters >= 0].bincount(minlength=num).numpy()

    @torch.no_grad()
    def draw(
        self,
        labels: Labels | None,
        num_anchors: int = _NUM_COUNTED,
        seed: int = 0,
    ) -> Draws:
        """Draw for some of the utterances, as the sampler's epoch did.

        Arguments
        ---------
        labels : Labels, optional
            Of the training set, in the manifest's order.
        num_anchors : int
            How many anchors; all if there are fewer.
        seed : int
            Which ones.

        Returns
        -------
        Draws
            Where a centroid is drawn, the member of its cluster that is
            nearest to it counts as what was drawn.

        Raises
        ------
        NotAvailableError
            SSPS has not started, or nothing was drawn.
        """
        if not self.has_draws:
            raise NotAvailableError(_not_started(self))
        sampler, bank = self.sampler, self.sampler.bank
        seen = bank.seen.nonzero().flatten().numpy()
        chosen = np.random.default_rng(seed).permutation(seen)[:num_anchors]
        index = torch.from_numpy(chosen)
        references = bank.references[index].float()
        anchors = Anchors(index, references, sampler.seed, self.epoch)
        if sampler.reads_partners:
            rows = drawn = sampler.partner_table.of(index)
        else:
            rows = sampler.strategy.select(anchors, sampler.queue)
            drawn = sampler.strategy.drawn_utterances(rows, sampler.queue)
            rows = torch.where(sampler.coverage.uses(index, drawn), rows, -1)
        if self.draws_centroids:
            drawn = self._nearest_to_centroids()[rows]
        drawn = torch.where(rows >= 0, drawn, -1)
        found = drawn >= 0
        if not bool(found.any()):
            raise NotAvailableError("no anchor found a pseudo-positive")
        index, drawn = index[found], drawn[found]
        cosines = F.cosine_similarity(
            references[found], bank.references[drawn].float(), dim=1
        )
        return Draws(
            index.numpy(),
            drawn.numpy(),
            cosines.numpy(),
            *_compare(labels, index.numpy(), drawn.numpy()),
            num_anchors=len(chosen),
        )

    def _nearest_to_centroids(self) -> Tensor:
        """Find the member nearest to each centroid, `(clusters,)`."""
        strategy = self.sampler.strategy
        index, references = self.sampler.bank.read_seen()
        clusters = strategy.clusters[index]
        kept = clusters >= 0
        index, clusters = index[kept], clusters[kept]
        cosines = F.cosine_similarity(
            references[kept].float(), strategy.centroids[clusters], dim=1
        )
        nearest = torch.full((strategy.num_clusters,), -1)
        order = cosines.argsort()  # the nearest of a cluster comes last
        for row in order.tolist():
            nearest[clusters[row]] = index[row]
        return nearest


def _compare(
    labels: Labels | None, one: NDArray[Any], other: NDArray[Any]
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Say which pairs are of one speaker, and of one recording."""
    if labels is None:
        return None, None
    numbers = number_labels(labels.speakers)
    same_recording = None
    if labels.recordings is not None:
        recordings = number_labels(labels.recordings)
        same_recording = recordings[one] == recordings[other]
    return numbers[one] == numbers[other], same_recording


def _not_started(memories: Memories) -> str:
    return (
        f"SSPS starts in epoch {memories.sampler.start_epoch}, and the newest "
        f"checkpoint is of epoch {memories.epoch}"
    )


def _build_sampler(run: Run) -> Any:
    """Build the sampler of the saved configuration, and nothing else of it.

    Building all of it would seed the process and make folders.
    """
    configuration = Configuration(run.hparams_file, None, {})
    with kept_random_states():
        hparams = configuration.load(keys=["sampler"])
    sampler = hparams.get("sampler")
    if not getattr(sampler, "enabled", False):
        raise NotAvailableError("this run is without SSPS")
    return sampler
