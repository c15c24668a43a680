"""Add views and the reference view to a dataset."""

import os
from collections.abc import Sequence
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.audio import SAMPLE_RATE, audio_seconds
from ssps_plugin.dataio.augmentation import Augmentation
from ssps_plugin.dataio.dataset import read_column
from ssps_plugin.dataio.views.torch_dataset import ReferenceView
from ssps_plugin.dataio.views.view_sampler import (
    Augment,
    CropGroup,
    SharedEpoch,
    UnreadableUtterances,
    ViewSampler,
)

# The item that becomes the batch's `id`: that of the utterance that was read.
_ID_READ = "id_read"


def add_views(
    dataset: DynamicItemDataset,
    crop_seconds: float,
    reference_seconds: float | None,
    seed: int,
    epoch: SharedEpoch,
    num_views: int = 2,
    augmentation: Augment | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Add the views and the reference of each utterance to a dataset.

    Adds the items `views`, `(num_views, samples)`, and `reference`,
    `(samples,)`, both float32, and sets the output keys to `id` and these.
    For views of several lengths see `add_crop_groups`. No label is read.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav` (a file) and `duration` (seconds).
    crop_seconds : float
        Length of a view in seconds.
    reference_seconds : float or None
        Length of the clean reference segment in seconds; None omits it and
        leaves the views as they are.
    seed : int
        It decides the crops and their augmentation, together with the epoch
        and the utterance's id.
    epoch : SharedEpoch
        The current epoch, to be set before each one.
    num_views : int
        Number of views.
    augmentation : callable, optional
        `augment(samples, rng) -> samples`, applied to each view. Of an
        `Augmentation` with `augment_on="device"`, `BatchAugmentation` is
        applied to the batch.
    sample_rate : int
        Samples per second.

    Raises
    ------
    ValueError
        A length or number is not positive, or the dataset lacks a column.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "ramp.wav")
    >>> soundfile.write(path, [n / 48000 for n in range(48000)], 16000)
    >>> data = {"a": {"wav": path, "duration": 3.0}}
    >>> dataset = DynamicItemDataset(data)
    >>> add_views(dataset, 1.0, 2.0, seed=1, epoch=SharedEpoch())
    >>> item = dataset[0]
    >>> item["id"], item["views"].shape, item["reference"].shape
    ('a', torch.Size([2, 16000]), torch.Size([32000]))
    """
    groups = make_view_groups(crop_seconds, reference_seconds, num_views)
    sampler = ViewSampler(groups, seed, epoch, augmentation, sample_rate)
    add_crop_groups(dataset, sampler)


def add_crop_groups(
    dataset: DynamicItemDataset,
    sampler: ViewSampler,
    max_unreadable: float = 0.01,
) -> None:
    """Add a sampler's groups of crops to a dataset, and set its output keys.

    A file that cannot be read (deleted, damaged, a disk that fails) is tried
    again after a moment; then another utterance, drawn by seed, epoch and id,
    is used in its place, and the `id` in the batch is the other's. The file is
    named in the log and counted in `sampler.failures`. Noise and rooms that
    the sampler's `Augmentation` is to make are made of the dataset.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav` (a file) and `duration` (seconds).
    sampler : ViewSampler
        Its `item_keys` become the output keys, after `id`.
    max_unreadable : float
        The fraction of the dataset, from 0 to 1, that may be lost in an epoch
        before an error stops the run: 0 stops it at the first file, else at
        least 5 files may be lost.

    Raises
    ------
    ValueError
        The dataset lacks a column, or `max_unreadable` is not from 0 to 1.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "ramp.wav")
    >>> soundfile.write(path, [n / 48000 for n in range(48000)], 16000)
    >>> data = {name: {"wav": path, "duration": 3.0} for name in ("a", "b")}
    >>> data["b"]["wav"] = "gone.wav"
    >>> dataset = DynamicItemDataset(data)
    >>> sampler = ViewSampler(make_view_groups(1.0), 1, SharedEpoch())
    >>> add_crop_groups(dataset, sampler)
    >>> dataset[1]["id"], sampler.failures.count(epoch=1)
    ('a', 1)
    """
    available = dataset.pipeline.key_to_node
    missing = [key for key in ("wav", "duration") if key not in available]
    if missing:
        raise ValueError(
            f"Expected a manifest with the columns ID, wav and duration, got "
            f"{', '.join(available)}: add {' and '.join(missing)}"
        )
    # Where these are made from other items, there is no row to use instead.
    first = dataset.data[dataset.data_ids[0]]
    if "wav" in first and "duration" in first:
        sampler.failures = UnreadableUtterances(dataset, max_unreadable)
        augmentation = sampler.augmentation
        if (
            isinstance(augmentation, Augmentation)
            and not augmentation.is_prepared
        ):
            augmentation.prepare(read_column(dataset, "wav"))
    keys, takes = sampler.item_keys(), ["id", "wav", "duration"]
    dataset.add_dynamic_item(sampler.read_item, takes, [_ID_READ, *keys])
    dataset.set_output_keys({"id": _ID_READ} | {key: key for key in keys})


def add_reference_view(
    dataset: Any,
    seconds: float,
    key: str = "reference",
    wav_key: str | int = "wav",
    seed: int = 0,
    epoch: SharedEpoch | None = None,
    sample_rate: int = SAMPLE_RATE,
    files: Sequence[str | os.PathLike[str]] | None = None,
) -> Any:
    """Add a clean random crop of fixed length to a dataset's output.

    The existing items and output keys stay as they are. A SpeechBrain dataset
    is changed in place: call it after `set_output_keys`, which would drop the
    new key again. Any other is wrapped: use the `ReferenceView` that is
    returned.

    Arguments
    ---------
    dataset : DynamicItemDataset or torch.utils.data.Dataset
        Any SpeechBrain dataset, of which only the item `wav_key` is read; or
        one of PyTorch with a length, see `ReferenceView`.
    seconds : float
        Length of the crop in seconds (the paper: 4); shorter utterances are
        repeated.
    key : str
        The new item's key: `batch.reference.data` is `(batch, samples)`.
    wav_key : str
        The item that is the audio file's path.
    seed : int
        It decides the crop, together with the epoch and the utterance's id.
    epoch : SharedEpoch, optional
        The current epoch, to be set before each one; None gives an utterance
        the same crop in all epochs.
    sample_rate : int
        Samples per second.
    files : sequence of path, optional
        For PyTorch's: each utterance's file, where items do not have it.

    Returns
    -------
    DynamicItemDataset or ReferenceView
        The SpeechBrain dataset itself, or the wrapped other one.

    Raises
    ------
    ValueError
        `seconds` is not above 0, the dataset has no item `wav_key`, or it has
        an item `key` already.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "ramp.wav")
    >>> soundfile.write(path, [n / 48000 for n in range(48000)], 16000)
    >>> data = {"a": {"wav": path, "text": "hello"}}
    >>> dataset = DynamicItemDataset(data, output_keys=["id", "text"])
    >>> dataset = add_reference_view(dataset, seconds=4.0)
    >>> dataset[0]["text"], dataset[0]["reference"].shape
    ('hello', torch.Size([64000]))
    """
    if not isinstance(dataset, DynamicItemDataset):
        return ReferenceView(
            dataset, seconds, key, wav_key, seed, epoch, sample_rate, files
        )
    if files is not None:
        raise ValueError(
            "Expected the files of a SpeechBrain dataset as its item "
            f"'{wav_key}', got files: leave files out."
        )
    available = dataset.pipeline.key_to_node
    if wav_key not in available:
        raise ValueError(
            f"Expected an item '{wav_key}' with the file's path, got "
            f"{', '.join(available)}: change wav_key"
        )
    if key in available:
        raise ValueError(
            f"Expected a new item's key, got '{key}', which the dataset has "
            "already: change key"
        )
    sampler = ViewSampler(
        [CropGroup(key, seconds, augmented=False)],
        seed,
        epoch if epoch is not None else SharedEpoch(),
        sample_rate=sample_rate,
    )
    dataset.add_dynamic_item(ReferenceCrop(sampler), ["id", wav_key], [key])
    output_keys = dict(dataset.pipeline.output_mapping)
    dataset.set_output_keys({**output_keys, key: key})
    return dataset


def make_view_groups(
    crop_seconds: float,
    reference_seconds: float | None = None,
    num_views: int = 2,
) -> list[CropGroup]:
    """Make the groups of most methods: equal views and a reference segment.

    Arguments
    ---------
    crop_seconds : float
        Length of a view in seconds.
    reference_seconds : float, optional
        Length of the reference segment in seconds; None leaves it out.
    num_views : int
        Number of views.

    Returns
    -------
    list of CropGroup
        `views` and, not augmented, `reference`.

    Example
    -------
    >>> groups = make_view_groups(2.0, reference_seconds=4.0)
    >>> [(group.key, group.augmented) for group in groups]
    [('views', True), ('reference', False)]
    """
    groups = [CropGroup("views", crop_seconds, num_views)]
    if reference_seconds is not None:
        groups.append(
            CropGroup("reference", reference_seconds, augmented=False)
        )
    return groups


class ReferenceCrop:
    """Cut a crop of an utterance whose duration is not in the manifest.

    Arguments
    ---------
    sampler : ViewSampler
        It has one group.
    """

    def __init__(self, sampler: ViewSampler) -> None:
        self.sampler = sampler

    def __call__(self, utterance_id: str, wav: str) -> object:
        return self.sampler(utterance_id, wav, audio_seconds(wav))
