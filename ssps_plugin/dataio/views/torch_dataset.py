"""The reference view for datasets of PyTorch: any with a length."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from ssps_plugin.dataio.audio import SAMPLE_RATE, audio_seconds, tile
from ssps_plugin.dataio.views.view_sampler import (
    CropGroup,
    SharedEpoch,
    ViewSampler,
)


class ReferenceView(Dataset[Any]):
    """Give a dataset's items, each with a clean random crop of its utterance.

    The items stay as they are. To a mapping, the crop is added as `key`; to a
    tuple, at its end; of any other item it makes a tuple of the two. Crops are
    decided by seed, epoch and utterance: they take no random number from the
    dataset, and are the same with any number of workers.

    An utterance's id, for the crop and for `PositiveSampler.bind`, is its
    position in the dataset.

    Attributes
    ----------
    epoch : SharedEpoch
        The current epoch: `dataset.epoch.set(2)`, before the second one.

    Arguments
    ---------
    dataset : torch.utils.data.Dataset or sequence
        It has a length, and positions from 0.
    seconds : float
        Length of the crop in seconds (the paper: 4); shorter utterances are
        repeated.
    key : str
        The new item's key, where items are mappings.
    wav_key : str or int
        Where in an item the clean utterance is: a mapping's key or a tuple's
        position. Not used where the item is the utterance itself, or `files`
        are given. An utterance is a file's path, or all its samples,
        `(samples,)` or `(1, samples)`.
    seed : int
        It decides the crop, together with the epoch and the utterance.
    epoch : SharedEpoch, optional
        The current epoch, to be set before each one; None makes one, and an
        utterance has the same crop in all epochs until it is set.
    sample_rate : int
        Samples per second.
    files : sequence of path, optional
        Each utterance's file, in the order of the dataset, where its items
        do not have it: those that are cut or augmented already, say.

    Raises
    ------
    ValueError
        `seconds` is not above 0; the dataset has no length, or another one
        than `files`.

    Example
    -------
    >>> waves = [torch.arange(5.0), torch.arange(3.0)]
    >>> dataset = ReferenceView(waves, seconds=4.0, sample_rate=1)
    >>> wave, reference = dataset[1]
    >>> wave.tolist(), reference.tolist()
    ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 0.0])
    """

    def __init__(
        self,
        dataset: Any,
        seconds: float,
        key: str = "reference",
        wav_key: str | int = "wav",
        seed: int = 0,
        epoch: SharedEpoch | None = None,
        sample_rate: int = SAMPLE_RATE,
        files: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        _check_has_positions(dataset)
        if files is not None and len(files) != len(dataset):
            raise ValueError(
                f"Expected a file for each of {len(dataset)} items, got "
                f"{len(files)}: change files."
            )
        self.dataset = dataset
        self.key = key
        self.wav_key = wav_key
        self.files = files
        self.epoch = SharedEpoch() if epoch is None else epoch
        self._sampler = ViewSampler(
            [CropGroup(key, seconds, augmented=False)],
            seed,
            self.epoch,
            sample_rate=sample_rate,
        )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an item and the reference of its utterance."""
        place = index + len(self) if index < 0 else index
        item = self.dataset[place]
        reference = self._cut(str(place), self._utterance(item, place))
        if isinstance(item, Mapping):
            if self.key in item:
                raise ValueError(
                    f"Expected a new item's key, got '{self.key}', which the "
                    "dataset's items have already: change key."
                )
            return {**item, self.key: reference}
        if isinstance(item, tuple | list):
            return (*item, reference)
        return item, reference

    def _utterance(self, item: Any, place: int) -> Any:
        """Return an item's clean utterance, a path or samples."""
        if self.files is not None:
            return self.files[place]
        if not isinstance(item, Mapping | tuple | list):
            return item
        try:
            return item[self.wav_key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            kind = "the key of a mapping with"
            has: Any = list(item)
            if not isinstance(item, Mapping):
                kind, has = "a position in", f"a tuple of {len(item)}"
            raise ValueError(
                f"Expected wav_key as {kind} the clean utterance, got "
                f"{self.wav_key!r} for {has}: change wav_key, or give files."
            ) from None

    def _cut(self, utterance_id: str, utterance: Any) -> torch.Tensor:
        if isinstance(utterance, str | os.PathLike):
            path = os.fspath(utterance)
            seconds = audio_seconds(path)
            (crop,) = self._sampler.cut(
                utterance_id, path, seconds, self.epoch.value
            )
            return crop
        samples = torch.as_tensor(utterance)
        if samples.dim() == 2 and len(samples) == 1:
            samples = samples[0]
        if samples.dim() != 1 or not len(samples):
            raise ValueError(
                "Expected an utterance as a file's path or as samples, "
                "(samples,) or (1, samples), got a tensor of shape "
                f"{tuple(samples.shape)}: change wav_key, or give files."
            )
        (length,) = self._sampler.lengths()
        rng = self._sampler.generator(utterance_id, self.epoch.value, "crops")
        start = int(rng.integers(max(len(samples) - length, 0) + 1))
        return tile(samples[start : start + length].float(), length)


def _check_has_positions(dataset: Any) -> None:
    has_positions = hasattr(dataset, "__getitem__") and hasattr(
        dataset, "__len__"
    )
    if has_positions and not isinstance(
        dataset, IterableDataset | Mapping | str
    ):
        return
    raise ValueError(
        "Expected a SpeechBrain dataset, or one of PyTorch with a length and "
        f"positions, got a {type(dataset).__name__}: the crop of an iterable "
        "dataset has to be cut where its items are made."
    )
