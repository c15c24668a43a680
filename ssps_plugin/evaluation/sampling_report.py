"""How often a pseudo-positive is what it should be: reads speaker labels."""

from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.dataio.table import column_of
from ssps_plugin.evaluation.nmi import normalized_mutual_information


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
    >>> report.figures(torch.tensor([0, 0, 1]))
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
    def of_dataset(cls, dataset: Any) -> "SamplingReport":
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

    def figures(self, clusters: Tensor | None = None) -> dict[str, float]:
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
