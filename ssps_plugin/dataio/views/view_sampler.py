"""Cut random crops of an utterance, decided by seed, epoch and utterance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.checks import check_flag, is_above
from ssps_plugin.dataio.audio import (
    RETRY_WAITS,
    SAMPLE_RATE,
    AudioError,
    read_audio,
    tile,
)
from ssps_plugin.dataio.augmentation import Augmentation
from ssps_plugin.dataio.dataset import Table
from ssps_plugin.dataio.read_failures import ReadFailures

#: A function of a waveform and a generator that returns a waveform.
Augment = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]
#: A function that reads a stretch of a file, such as `read_audio`.
Read = Callable[..., torch.Tensor]
# Utterances that are tried one after the other in place of a lost one.
_MOST_REPLACEMENTS = 20


@dataclass(frozen=True)
class CropGroup:
    """A group of crops of one length, which form one item of the dataset.

    Arguments
    ---------
    key : str
        The item's key in the batch.
    seconds : float
        Length of every crop in seconds.
    num_crops : int, optional
        How many; the item is `(num_crops, samples)`. None gives a single crop
        without that dimension, `(samples,)`; of 0 there is no item.
    augmented : bool
        Whether the crops are augmented.

    Raises
    ------
    ValueError
        `seconds` is not above 0 or `num_crops` is below 0.

    Example
    -------
    >>> CropGroup("local_views", seconds=2.0, num_crops=4).lengths(16000)
    [32000, 32000, 32000, 32000]
    """

    key: str
    seconds: float
    num_crops: int | None = None
    augmented: bool = True

    def __post_init__(self) -> None:
        check_flag("augmented", self.augmented)
        if not is_above(0, self.seconds):
            raise ValueError(
                f"Expected crops of '{self.key}' longer than 0 seconds, got "
                f"{self.seconds!r}: change their length in seconds"
            )
        if self.num_crops is not None and self.num_crops < 0:
            raise ValueError(
                f"Expected at least 0 crops in '{self.key}', got "
                f"{self.num_crops}: change its num_crops (num_views of "
                "add_views)"
            )

    @property
    def is_reference(self) -> bool:
        """Whether it is SSPS's reference segment, by its key."""
        return self.key == "reference"

    def lengths(self, sample_rate: int) -> list[int]:
        """Return each crop's length in samples."""
        num_samples = round(self.seconds * sample_rate)
        return [num_samples] * (1 if self.num_crops is None else self.num_crops)

    def stack(self, crops: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stack crops into the item."""
        return crops[0] if self.num_crops is None else torch.stack(list(crops))


class SharedEpoch:
    """The number of the current epoch, in memory that workers share.

    A DataLoader's workers hold copies of the dataset, made when they started:
    with `persistent_workers` a plain attribute keeps its value of then. This
    number is the same in all workers. Set it before the loader is iterated
    (`on_stage_start`), since workers read ahead.

    Arguments
    ---------
    epoch : int
        The number to start with; SpeechBrain's epochs count from 1.

    Example
    -------
    >>> epoch = SharedEpoch()
    >>> epoch.set(7)
    >>> epoch.value
    7
    """

    def __init__(self, epoch: int = 1) -> None:
        self._number = torch.tensor([epoch], dtype=torch.int64)
        self._number.share_memory_()

    @property
    def value(self) -> int:
        """The current epoch."""
        return int(self._number)

    def set(self, epoch: int) -> None:
        """Set the epoch, in this process and in every worker.

        Arguments
        ---------
        epoch : int
            The epoch that is about to start.
        """
        self._number.fill_(epoch)

    def __deepcopy__(self, memo: dict[int, object]) -> "SharedEpoch":
        # SpeechBrain deep-copies a dataset's pipeline when it filters or
        # sorts it: a copied tensor would not be shared any more.
        return self


class UnreadableUtterances(ReadFailures):
    """Which utterances could not be read, and others to use instead.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav` (a file) and `duration` (seconds).
    max_unreadable : float
        As for `ReadFailures`.

    Example
    -------
    >>> rows = {name: {"wav": f"{name}.wav", "duration": 3.0} for name in "ab"}
    >>> unreadable = UnreadableUtterances(DynamicItemDataset(rows))
    >>> unreadable.lose("b", 1, "b.wav: there is no such file")
    >>> unreadable.count(epoch=1)
    1
    """

    def __init__(
        self, dataset: DynamicItemDataset, max_unreadable: float = 0.01
    ) -> None:
        self._rows, self._ids = dataset.data, dataset.data_ids
        self._places: dict[str, int] | None = None
        if self._is_whole_table():
            files = dataset.data.columns["wav"]
        else:
            files = [self._rows[name]["wav"] for name in self._ids]
        super().__init__(files, max_unreadable, "utterances")

    def lose(self, utterance_id: str, epoch: int, reason: object) -> None:
        """Count an utterance that could not be read; see `record`."""
        self.record(self.place(utterance_id), epoch, reason)

    def place(self, utterance_id: str) -> int:
        """Return an utterance's place in the dataset."""
        if self._is_whole_table():
            place: int = self._rows.place(utterance_id)
            return place
        # Seldom needed: only once something could not be read.
        if self._places is None:
            self._places = {name: n for n, name in enumerate(self._ids)}
        return self._places[utterance_id]

    def draw(self, rng: np.random.Generator) -> tuple[str, str, float]:
        """Draw an utterance: its id, its file and its length in seconds."""
        name = self._ids[int(rng.integers(len(self._ids)))]
        row = self._rows[name]
        return name, row["wav"], float(row["duration"])

    def _is_whole_table(self) -> bool:
        return isinstance(self._rows, Table) and self._rows.ids is self._ids


class ViewSampler:
    """Cut and augment an utterance's crops: a function for dataset items.

    Attributes
    ----------
    failures : UnreadableUtterances or None
        The utterances that could not be read, once `add_crop_groups` has
        added the sampler to a dataset.

    Arguments
    ---------
    groups : sequence of CropGroup
        What to cut; groups of 0 crops are left out. The positions are drawn
        in this order, so a group added at the end leaves the crops of the
        others as they were.
    seed : int
        The experiment's seed.
    epoch : SharedEpoch
        The current epoch.
    augmentation : callable, optional
        `augment(samples, rng) -> samples`, applied to each augmented crop. Of
        an `Augmentation` on the device, what it draws is given beside them.
    sample_rate : int
        Samples per second of the crops.

    Raises
    ------
    ValueError
        There are no crops.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "noise.wav")
    >>> soundfile.write(path, np.random.randn(48000) / 9, 16000)
    >>> groups = [CropGroup("views", 2.0, 2), CropGroup("local", 1.0, 4)]
    >>> views, local = ViewSampler(groups, 1, SharedEpoch())("a", path, 3.0)
    >>> views.shape, local.shape
    (torch.Size([2, 32000]), torch.Size([4, 16000]))
    """

    def __init__(
        self,
        groups: Sequence[CropGroup],
        seed: int,
        epoch: SharedEpoch,
        augmentation: Augment | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.groups = [group for group in groups if group.num_crops != 0]
        if not self.groups:
            raise ValueError(
                "Expected at least 1 crop, got none: change num_crops of "
                "crop_groups"
            )
        if not isinstance(epoch, SharedEpoch):
            raise ValueError(
                f"Expected a SharedEpoch as epoch, got {epoch!r}: change epoch "
                "to one SharedEpoch(), and set its value in every epoch"
            )
        self.seed = seed
        self.epoch = epoch
        self.augmentation = augmentation
        self.sample_rate = sample_rate
        self.failures: UnreadableUtterances | None = None

    def read_item(
        self, utterance_id: str, wav: str, duration: float | str
    ) -> tuple[str | torch.Tensor, ...]:
        """Cut one utterance's crops or, where it cannot be read, another's.

        The other utterance is a function of seed, epoch and utterance: the
        same on every rank, and on a resume. One that cannot be read either is
        followed by the next. The audio is attributed to whom it belongs: the
        id that is returned is that of the utterance that was read.

        Arguments
        ---------
        utterance_id, wav, duration
            As for a call.

        Returns
        -------
        tuple
            The id of the utterance that was read, and the item of each group.

        Raises
        ------
        TooManyUnreadableError
            More utterances of this epoch than `max_unreadable` were lost.
        AudioError
            It cannot be read, nor can any of those drawn in its place.
        """
        epoch, seconds = self.epoch.value, float(duration)
        try:
            crops = self.cut(utterance_id, wav, seconds, epoch)
        except AudioError as error:
            failures = self.failures
            if failures is None:
                raise
            failures.lose(utterance_id, epoch, error)
            utterance_id, crops = self._cut_another(
                failures, utterance_id, epoch
            )
        return (utterance_id, *self._make_items(crops, utterance_id, epoch))

    def _cut_another(
        self, failures: UnreadableUtterances, lost_id: str, epoch: int
    ) -> tuple[str, list[torch.Tensor]]:
        """Cut the crops of an utterance that is drawn for a lost one."""
        rng = self.generator(lost_id, epoch, "replacement")
        for _ in range(_MOST_REPLACEMENTS):
            utterance_id, wav, seconds = failures.draw(rng)
            if utterance_id == lost_id:
                continue
            try:
                crops = self.cut(utterance_id, wav, seconds, epoch)
            except AudioError as error:
                failures.lose(utterance_id, epoch, error)
                continue
            return utterance_id, crops
        raise AudioError(
            f"Expected an utterance to use in place of {lost_id}, got "
            f"{_MOST_REPLACEMENTS} draws of which none can be read: look at "
            "data_folder, whose file system may be gone"
        )

    def __call__(
        self, utterance_id: str, wav: str, duration: float | str
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Cut one utterance's crops.

        Arguments
        ---------
        utterance_id : str
            Its id: it decides the crops, together with seed and epoch.
        wav : str
            Its file.
        duration : float or str
            Its length in seconds.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            The item of each group, see `item_keys`; not a tuple where there is
            a single item, as SpeechBrain wants it.
        """
        epoch = self.epoch.value
        crops = self.cut(utterance_id, wav, float(duration), epoch)
        items = self._make_items(crops, utterance_id, epoch)
        return items[0] if len(items) == 1 else tuple(items)

    def _make_items(
        self, crops: Sequence[torch.Tensor], utterance_id: str, epoch: int
    ) -> list[torch.Tensor]:
        """Augment the crops, or draw with what; stack those of each group."""
        left, items, position = iter(crops), [], 0
        only_draws = self._only_draws()
        for group in self.groups:
            members, draws = [], []
            for _ in range(group.num_crops or 1):
                crop = next(left)
                if group.augmented and self.augmentation is not None:
                    rng = self.generator(
                        utterance_id, epoch, f"augmentation {position}"
                    )
                    if only_draws is None:
                        crop = self.augmentation(crop, rng)
                    else:
                        draws.append(only_draws.draw(len(crop), rng))
                members.append(crop)
                position += 1
            items.append(group.stack(members))
            items += [
                group.stack([drawn[name] for drawn in draws])
                for name in (draws[0] if draws else ())
            ]
        return items

    def item_keys(self) -> list[str]:
        """Return the key of each item that a call returns, in their order.

        Those of the groups and, behind each group that is augmented on the
        device, those of what is drawn for its crops (`views_noise`).
        """
        only_draws, keys = self._only_draws(), []
        for group in self.groups:
            keys.append(group.key)
            if only_draws is not None and group.augmented:
                names = only_draws.drawn_names
                keys += [f"{group.key}_{name}" for name in names]
        return keys

    def _only_draws(self) -> Augmentation | None:
        """Return the augmentation if the device does the rest of it."""
        augmentation = self.augmentation
        if not isinstance(augmentation, Augmentation):
            return None
        return augmentation if augmentation.augment_on == "device" else None

    def cut(
        self, utterance_id: str, wav: str, seconds: float, epoch: int
    ) -> list[torch.Tensor]:
        """Cut the crops of all groups, in their order, not augmented."""
        rng = self.generator(utterance_id, epoch, "crops")
        return cut_crops(
            wav,
            seconds,
            self.lengths(),
            rng,
            self.sample_rate,
            self.reader(utterance_id),
        )

    def reader(self, utterance_id: str) -> Read:
        """Return what reads an utterance's file: with retries, at first."""
        failures = self.failures
        if failures is None or not failures.any_lost:
            return read_audio
        is_lost = failures.was_lost(failures.place(utterance_id))
        return partial(read_audio, waits=() if is_lost else RETRY_WAITS)

    def lengths(self) -> list[int]:
        """Return the length in samples of every crop of every group."""
        return [n for g in self.groups for n in g.lengths(self.sample_rate)]

    def generator(
        self, utterance_id: str, epoch: int, purpose: str
    ) -> np.random.Generator:
        """Make the generator of one utterance, epoch and purpose."""
        return utterance_generator(self.seed, epoch, utterance_id, purpose)


def cut_crops(
    path: str,
    seconds: float,
    lengths: Sequence[int],
    rng: np.random.Generator,
    sample_rate: int = SAMPLE_RATE,
    read: Read = read_audio,
) -> list[torch.Tensor]:
    """Cut crops at independent, uniform positions with a single read.

    The file is read from the earliest start to the latest end. A crop lies
    within the utterance; an utterance shorter than a crop is repeated. (The
    authors first repeat it up to the longest crop, so that a shorter crop may
    run over the seam; here a crop does so only where it has to.)

    Arguments
    ---------
    path : str
        The utterance's file.
    seconds : float
        The utterance's length in seconds, from the manifest.
    lengths : sequence of int
        Each crop's length in samples.
    rng : numpy.random.Generator
        Draws the positions, in the order of `lengths`.
    sample_rate : int
        Samples per second of the crops.
    read : callable
        Reads the file, as `read_audio` does.

    Returns
    -------
    list of torch.Tensor
        float32, one of `(length,)` for each of `lengths`, in memory of its
        own: sums of a view may be rounded otherwise where it lies otherwise,
        and would then depend on the other crops.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "ramp.wav")
    >>> soundfile.write(path, np.arange(16000) / 16000, 16000)
    >>> rng = np.random.default_rng(0)
    >>> [len(crop) for crop in cut_crops(path, 1.0, [100, 20000], rng)]
    [100, 20000]
    """
    total = max(round(seconds * sample_rate), 1)
    starts = [int(rng.integers(max(total - n, 0) + 1)) for n in lengths]
    stops = [min(a + n, total) for a, n in zip(starts, lengths, strict=True)]
    first = min(starts)
    stretch = read(
        path,
        first / sample_rate,
        (max(stops) - first) / sample_rate,
        sample_rate=sample_rate,
    )
    return [
        tile(stretch[start - first : stop - first], length).clone()
        for start, stop, length in zip(starts, stops, lengths, strict=True)
    ]


def utterance_generator(
    seed: int, epoch: int, utterance_id: str, purpose: str
) -> np.random.Generator:
    """Make the random generator of one utterance in one epoch.

    Its draws depend on nothing but the arguments: not on the number of workers
    or ranks, the order of the utterances, or a resume inside the epoch.

    Arguments
    ---------
    seed : int
        The experiment's seed.
    epoch : int
        The epoch, from 1.
    utterance_id : str
        The utterance's id in the manifest.
    purpose : str
        What is drawn ("crops", "augmentation 0" …): the draws of different
        purposes are independent.

    Returns
    -------
    numpy.random.Generator
        A fresh generator.

    Example
    -------
    >>> draws = [
    ...     int(utterance_generator(1, epoch, "a", "crops").integers(1000))
    ...     for epoch in (1, 1, 2)
    ... ]
    >>> draws[0] == draws[1], draws[0] == draws[2]
    (True, False)
    """
    # Python's own hash of a string differs between processes.
    key = "\0".join((str(seed), str(epoch), purpose, str(utterance_id)))
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16)
    words = np.frombuffer(digest.digest(), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words))
