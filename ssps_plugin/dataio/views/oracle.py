"""Views with true positives: an upper bound that READS SPEAKER LABELS.

No other training data of this package reads them. Training with these views is
supervised, and shows what perfect positive sampling would reach.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.logger import get_logger

from ssps_plugin.dataio.audio import SAMPLE_RATE, AudioError
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.dataio.views.items import add_crop_groups, make_view_groups
from ssps_plugin.dataio.views.view_sampler import (
    Augment,
    CropGroup,
    SharedEpoch,
    ViewSampler,
    cut_crops,
)

logger = get_logger(__name__)

# A speaker's utterances that are tried one after the other.
_MOST_REPLACEMENTS = 20


def add_oracle_views(
    dataset: DynamicItemDataset,
    crop_seconds: float,
    reference_seconds: float | None,
    seed: int,
    epoch: SharedEpoch,
    num_views: int = 2,
    augmentation: Augment | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Add views as `add_views` does, the second of them of a true positive.

    READS SPEAKER LABELS: an upper bound, not self-supervised training.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav`, `duration`, `speaker` and, for positives from
        other recordings, `recording`.
    crop_seconds, reference_seconds, seed, epoch
        As for `add_views`.
    num_views, augmentation, sample_rate
        As for `add_views`.

    Raises
    ------
    ValueError
        As `add_views`, or the manifest has no speakers.
    """
    groups = make_view_groups(crop_seconds, reference_seconds, num_views)
    sampler = OracleViewSampler(
        dataset, groups, seed, epoch, augmentation, sample_rate
    )
    add_crop_groups(dataset, sampler)


class OracleViewSampler(ViewSampler):
    """Cut the crops of an utterance from its file and its true positives'.

    Crops that are compared with each other come from different files: the
    first crop and the reference segment from the utterance itself, every other
    crop of the first group (two views, DINO's global ones) from a true
    positive of its own, and those of each further group (DINO's and SDPN's
    local ones, which are compared with global ones alone) from one more.

    Arguments
    ---------
    dataset : DynamicItemDataset
        The training set, with labels.
    groups, seed, epoch, augmentation, sample_rate
        As for `ViewSampler`.

    Raises
    ------
    ValueError
        As `ViewSampler` and `TruePositives`; or all crops are of one file.
    """

    def __init__(
        self,
        dataset: DynamicItemDataset,
        groups: Sequence[CropGroup],
        seed: int,
        epoch: SharedEpoch,
        augmentation: Augment | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        super().__init__(groups, seed, epoch, augmentation, sample_rate)
        self.positives = TruePositives(dataset)
        self.data = dataset.data
        # The file of each crop: 0, the utterance's; n, its nth positive's.
        self._sources = _assign_sources(self.groups)
        if not any(self._sources):
            raise ValueError(
                "Expected at least 2 crops for true positives, got a single "
                "one: change num_crops of the group (num_views of "
                "add_oracle_views)"
            )

    def cut(
        self, utterance_id: str, wav: str, seconds: float, epoch: int
    ) -> list[torch.Tensor]:
        """Cut the crops, with one read of each file."""
        draws = self.generator(utterance_id, epoch, "true positive")
        ids = [utterance_id]
        ids += self.positives.draw(utterance_id, draws, max(self._sources))
        rng = self.generator(utterance_id, epoch, "crops")

        def draw_another() -> str:
            return self.positives.draw(utterance_id, draws)[0]

        cuts = []
        for number, file_id in enumerate(ids):
            wanted = [
                samples
                for samples, source in zip(
                    self.lengths(), self._sources, strict=True
                )
                if source == number
            ]
            if number == 0:
                cut = self._cut_file(file_id, wav, seconds, wanted, rng)
            else:
                cut = self._cut_positive(
                    file_id, wanted, rng, epoch, draw_another
                )
            cuts.append(iter(cut))
        return [next(cuts[source]) for source in self._sources]

    def _cut_positive(
        self,
        positive: str,
        lengths: Sequence[int],
        rng: np.random.Generator,
        epoch: int,
        draw_another: Callable[[], str],
    ) -> list[torch.Tensor]:
        """Cut a positive's crops or, where it cannot be read, another's."""
        for _ in range(_MOST_REPLACEMENTS):
            row = self.data[positive]
            wav, seconds = row["wav"], float(row["duration"])
            try:
                return self._cut_file(positive, wav, seconds, lengths, rng)
            except AudioError as error:
                if self.failures is None:
                    raise
                self.failures.lose(positive, epoch, error)
                positive = draw_another()
        raise AudioError(
            f"Expected a true positive that can be read, got {row['wav']} and "
            f"{_MOST_REPLACEMENTS - 1} others of this speaker that cannot"
        )

    def _cut_file(
        self,
        utterance_id: str,
        wav: str,
        seconds: float,
        lengths: Sequence[int],
        rng: np.random.Generator,
    ) -> list[torch.Tensor]:
        read = self.reader(utterance_id)
        return cut_crops(wav, seconds, lengths, rng, self.sample_rate, read)


class TruePositives:
    """Draw other utterances of the same speaker, by the labels.

    They are of other recordings where the speaker has some, else of the same
    recording; a speaker's only utterance is its own positive.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `speaker` and, for positives from other recordings,
        `recording`.

    Raises
    ------
    ValueError
        A row has no speaker.

    Example
    -------
    >>> rows = {"a": "1", "b": "2", "c": "1"}
    >>> data = {key: {"speaker": speaker} for key, speaker in rows.items()}
    >>> positives = TruePositives(DynamicItemDataset(data))
    >>> positives.draw("a", np.random.default_rng(0))
    ['c']
    """

    def __init__(self, dataset: DynamicItemDataset) -> None:
        ids = list(dataset.data_ids)
        labels = _read_labels(ids, dataset)
        order = sorted(range(len(ids)), key=lambda index: labels[index])
        self._sorted_ids = [ids[index] for index in order]
        # Sorted so, a speaker is a range of positions, and so is a recording.
        by_speaker = _find_ranges([labels[index][:1] for index in order])
        by_recording = _find_ranges([labels[index] for index in order])
        self._position = {key: p for p, key in enumerate(self._sorted_ids)}
        self._speaker_range, self._recording_range = by_speaker, by_recording
        single = int(np.sum(by_speaker[:, 1] - by_speaker[:, 0] == 1))
        if single:
            logger.warning(
                "%d of %d utterances are their speaker's only one: they are "
                "their own positives",
                single,
                len(ids),
            )

    def draw(
        self, utterance_id: str, rng: np.random.Generator, number: int = 1
    ) -> list[str]:
        """Draw one utterance's positives, uniformly.

        Arguments
        ---------
        utterance_id : str
            The anchor's id.
        rng : numpy.random.Generator
            Draws them, one after the other.
        number : int
            How many to draw.

        Returns
        -------
        list of str
            The positives' ids: different ones, repeated where there are fewer.
        """
        own = self._position[utterance_id]
        start, stop = (int(p) for p in self._speaker_range[own])
        without = tuple(int(p) for p in self._recording_range[own])
        if without == (start, stop):
            without = (own, own + 1)
        if without == (start, stop):
            return [utterance_id] * number
        num_without = without[1] - without[0]
        num_candidates = (stop - start) - num_without
        drawn: list[int] = []
        while len(drawn) < min(number, num_candidates):
            candidate = int(rng.integers(num_candidates - len(drawn)))
            for earlier in sorted(drawn):
                candidate += candidate >= earlier
            drawn.append(candidate)
        positions = [start + candidate for candidate in drawn]
        ids = [
            self._sorted_ids[p + num_without if p >= without[0] else p]
            for p in positions
        ]
        return [ids[index % len(ids)] for index in range(number)]


def _assign_sources(groups: Sequence[CropGroup]) -> list[int]:
    """Return the number of each crop's file, see `OracleViewSampler`."""
    sources: list[int] = []
    num_files = 0
    for group in groups:
        num_crops = group.num_crops or 1
        if group.is_reference:
            sources += [0] * num_crops
        elif num_files == 0:
            sources += range(num_crops)
            num_files = num_crops
        else:
            sources += [num_files] * num_crops
            num_files += 1
    return sources


def _read_labels(
    ids: Sequence[str], dataset: DynamicItemDataset
) -> list[tuple[str, str]]:
    """Return every utterance's speaker and recording.

    An utterance without a recording is one of its own.
    """
    speakers = read_column(dataset, "speaker")
    for utterance_id, speaker in zip(ids, speakers, strict=True):
        if not speaker:
            raise ValueError(
                "Expected a manifest with speakers for true positives, got "
                f"none for {utterance_id} (columns: "
                f"{', '.join(dataset.data[utterance_id])}): add the column "
                "speaker, or train without the oracle"
            )
    recordings = read_column(dataset, "recording")
    return [
        (str(speaker), str(recording or utterance_id))
        for utterance_id, speaker, recording in zip(
            ids, speakers, recordings, strict=True
        )
    ]


def _find_ranges(labels: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Return the start and stop of each item's run of equal labels."""
    changes = [p for p in range(1, len(labels)) if labels[p] != labels[p - 1]]
    starts = np.array([0, *changes])
    stops = np.array([*changes, len(labels)])
    sizes = stops - starts
    return np.stack([np.repeat(starts, sizes), np.repeat(stops, sizes)], axis=1)
