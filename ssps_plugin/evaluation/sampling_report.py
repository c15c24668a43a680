"""How often a pseudo-positive is what it should be: reads speaker labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.dataio.dataset import column_of


class SamplingReport(nn.Module):
    """Count, over an epoch, whose utterances were drawn. Diagnostics only.

    Nothing it computes flows back into training. Without labels it reports
    nothing. Its counts are in its `state_dict`, so that a resume inside an
    epoch reports on the whole epoch.

    Arguments
    ---------
    speakers : torch.Tensor, optional
        `(num_utterances,)` int64, the speaker of every training utterance in
        the order bound to the sampler.
    recordings : torch.Tensor, optional
        `(num_utterances,)` int64, the recording.

    Example
    -------
    >>> report = SamplingReport(torch.tensor([0, 0, 1]))
    >>> anchors, drawn = torch.tensor([0, 1, 2]), torch.tensor([1, 2, -1])
    >>> report.update(anchors, drawn)
    >>> report.metrics(torch.tensor([0, 0, 1]))
    {'speaker_accuracy': 0.5, 'speaker_nmi': 1.0}
    """

    counts: Tensor

    def __init__(
        self,
        speakers: Tensor | None = None,
        recordings: Tensor | None = None,
    ) -> None:
        super().__init__()
        labels = {"speaker": speakers, "recording": recordings}
        self.names = [name for name, of in labels.items() if of is not None]
        for name in self.names:
            self.register_buffer(f"_{name}", labels[name], persistent=False)
        # anchors with a drawn utterance, then hits by name
        self.register_buffer("counts", torch.zeros(3, dtype=torch.long))

    @classmethod
    def of_dataset(cls, dataset: Any) -> SamplingReport:
        """Read labels from a manifest's rows, where all of them have them.

        Arguments
        ---------
        dataset : DynamicItemDataset
            With columns `speaker` and `recording`, or without.
        """
        speakers = _column(dataset, "speaker")
        recordings = _column(dataset, "recording")
        if recordings and speakers:
            # Recordings may be numbered anew for every speaker.
            pairs = zip(speakers, recordings, strict=True)
            recordings = [f"{speaker}/{name}" for speaker, name in pairs]
        return cls(_numbered(speakers), _numbered(recordings))

    def update(self, anchors: Tensor, drawn: Tensor) -> None:
        """Count one step.

        Arguments
        ---------
        anchors : torch.Tensor
            `(batch,)` int64, utterances.
        drawn : torch.Tensor
            `(batch,)` int64, the utterance drawn for each, -1 for none.
        """
        found = drawn >= 0
        self.counts[0] += found.sum()
        for place, name in enumerate(self.names, start=1):
            labels = getattr(self, f"_{name}")
            same = labels[anchors] == labels[drawn.clamp(min=0)]
            self.counts[place] += (same & found).sum()

    def metrics(self, clusters: Tensor | None = None) -> dict[str, float]:
        """Return shares of the draws so far; waits for the device.

        Arguments
        ---------
        clusters : torch.Tensor, optional
            `(num_utterances,)` int64, -1 for none.

        Returns
        -------
        dict of str to float
            speaker_accuracy, recording_accuracy: share of drawn utterances of
            the anchor's speaker (want high) and recording (want low).
            speaker_nmi, recording_nmi: of the clusters with the labels. Only
            what labels and draws allow.
        """
        drawn, *hits = self.counts.tolist()
        figures = {}
        if drawn:
            for name, num in zip(self.names, hits, strict=False):
                figures[f"{name}_accuracy"] = num / drawn
        if clusters is not None and bool((clusters >= 0).any()):
            known = clusters >= 0
            for name in self.names:
                labels = getattr(self, f"_{name}")
                figures[f"{name}_nmi"] = normalized_mutual_information(
                    clusters[known], labels[known]
                )
        return figures

    def reset(self) -> None:
        """Start counting anew."""
        self.counts.zero_()


def _column(dataset: Any, name: str) -> list[str]:
    """Values of all rows, or none where some row has none."""
    values = [str(value or "") for value in column_of(dataset, name)]
    return values if all(values) else []


def _numbered(values: list[str]) -> Tensor | None:
    if not values:
        return None
    numbers = {
        value: number for number, value in enumerate(dict.fromkeys(values))
    }
    return torch.tensor([numbers[value] for value in values])


def normalized_mutual_information(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far one labeling tells the other, in [0, 1].

    Mutual information over the arithmetic mean of the two entropies, as
    scikit-learn's default. Only the pairs of labels that occur are counted:
    no clusters × speakers table is made.

    Arguments
    ---------
    a : torch.Tensor
        (utterances,), integers of any value: say, clusters.
    b : torch.Tensor
        (utterances,), integers of any value: say, speakers.

    Returns
    -------
    nmi : float
        1 where the labelings are the same up to names (two constant ones
        included), 0 where they are independent.

    Raises
    ------
    ValueError
        If the shapes differ or are not (utterances,) with utterances > 0.

    Example
    -------
    >>> clusters = torch.tensor([5, 5, 2, 2])
    >>> normalized_mutual_information(clusters, torch.tensor([0, 0, 1, 1]))
    1.0
    >>> normalized_mutual_information(clusters, torch.tensor([0, 1, 0, 1]))
    0.0
    """
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(
            "expected two labelings of one shape (utterances,), not empty, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    a, counts_a = _compact(a)
    b, counts_b = _compact(b.to(a.device))
    if len(counts_a) == len(counts_b) == 1:
        return 1.0
    joint, counts = torch.unique(a * len(counts_b) + b, return_counts=True)
    of_a = counts_a[joint // len(counts_b)]
    of_b = counts_b[joint % len(counts_b)]
    # The ratio of two exact integers: 1, and a log of 0, for independence.
    ratio = (counts * len(a)).double() / (of_a * of_b).double()
    information = float((counts * ratio.log()).sum() / len(a))
    mean_entropy = 0.5 * (_entropy(counts_a) + _entropy(counts_b))
    return min(1.0, max(0.0, information / mean_entropy))


def _compact(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels renamed to 0, 1, 2, … and how often each occurs."""
    _, compact, counts = torch.unique(
        labels, return_inverse=True, return_counts=True
    )
    return compact, counts


def _entropy(counts: torch.Tensor) -> float:
    """Entropy, in nats, of the distribution that the counts make."""
    total = counts.sum()
    return float((counts * (total / counts.double()).log()).sum() / total)
