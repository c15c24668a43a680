"""How often a pseudo-positive has its anchor's speaker: reads speaker labels.

Diagnostics only: accuracies of the draws, and the normalised mutual
information of clusters and labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.clustering import normalized_mutual_information
from ssps_plugin.dataio.dataset import read_column


class SamplingReport(nn.Module):
    """Count, over an epoch, how often a draw has its anchor's labels.

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
        # Anchors with a drawn utterance, then hits by name.
        self.register_buffer("counts", torch.zeros(3, dtype=torch.long))

    @classmethod
    def of_dataset(cls, dataset: Any) -> SamplingReport:
        """Read the labels of a manifest; one that some rows lack is not used.

        Arguments
        ---------
        dataset : DynamicItemDataset
            With or without the columns `speaker` and `recording`.

        Returns
        -------
        SamplingReport
        """
        speakers = _complete_column(dataset, "speaker")
        recordings = _complete_column(dataset, "recording")
        if recordings and speakers:
            # Two speakers may have recordings of the same name.
            pairs = zip(speakers, recordings, strict=True)
            recordings = [f"{speaker}/{name}" for speaker, name in pairs]
        return cls(_number_labels(speakers), _number_labels(recordings))

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
        for position, name in enumerate(self.names, start=1):
            labels = getattr(self, f"_{name}")
            same = labels[anchors] == labels[drawn.clamp(min=0)]
            self.counts[position] += (same & found).sum()

    def metrics(self, clusters: Tensor | None = None) -> dict[str, float]:
        """Return accuracies of the draws so far; waits for the device.

        Arguments
        ---------
        clusters : torch.Tensor, optional
            `(num_utterances,)` int64, -1 for none.

        Returns
        -------
        dict of str to float
            `speaker_accuracy`, `recording_accuracy`: the fraction of drawn
            utterances of the anchor's speaker (should be high) and recording
            (should be low). `gauge`: the fraction of the anchor's speaker in
            another recording minus that of its own recording, in [-1, 1].
            `speaker_nmi`, `recording_nmi`: the normalised
            mutual information of clusters and labels. Entries without labels,
            draws or clusters are left out.
        """
        num_drawn, *hits = self.counts.tolist()
        metrics = {}
        if num_drawn:
            for name, num_hits in zip(self.names, hits, strict=False):
                metrics[f"{name}_accuracy"] = num_hits / num_drawn
            if self.names == ["speaker", "recording"]:
                # What is of the own recording is of the speaker, too.
                num_right, num_own = hits
                metrics["gauge"] = (num_right - 2 * num_own) / num_drawn
        if clusters is not None and bool((clusters >= 0).any()):
            clustered = clusters >= 0
            for name in self.names:
                labels = getattr(self, f"_{name}")
                metrics[f"{name}_nmi"] = normalized_mutual_information(
                    clusters[clustered], labels[clustered]
                )
        return metrics

    def reset(self) -> None:
        """Set all counts to zero."""
        self.counts.zero_()


def _complete_column(dataset: Any, name: str) -> list[str]:
    """Return the values of a column; an empty list if a row has none."""
    values = [str(value or "") for value in read_column(dataset, name)]
    return values if all(values) else []


def _number_labels(labels: list[str]) -> Tensor | None:
    """Number labels in order of first appearance; None if there are none."""
    if not labels:
        return None
    numbers = {
        label: number for number, label in enumerate(dict.fromkeys(labels))
    }
    return torch.tensor([numbers[label] for label in labels])
