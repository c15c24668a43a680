"""The views of an utterance and its reference segment, as dataset items."""

from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.dataio.crops import CropGroup
from ssps_plugin.dataio.shared_epoch import SharedEpoch
from ssps_plugin.dataio.view_sampler import Augment, ViewSampler


def view_groups(
    crop_seconds: float,
    reference_seconds: float | None = None,
    num_views: int = 2,
) -> list[CropGroup]:
    """Return what most methods cut: equal views and a reference segment.

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
        `views` and, clean and un-augmented, `reference`.

    Example
    -------
    >>> [group.key for group in view_groups(2.0, reference_seconds=4.0)]
    ['views', 'reference']
    """
    groups = [CropGroup("views", crop_seconds, num_views)]
    if reference_seconds is not None:
        groups.append(
            CropGroup("reference", reference_seconds, augmented=False)
        )
    return groups


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
    """Make a dataset give the views and the reference of each utterance.

    Adds the items `views`, (num_views, samples), and `reference`, (samples,),
    both float32, and sets the output keys to `id` and these. For groups of
    views of several lengths see `add_crop_groups`. Reads no labels.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav` (a file) and `duration` (seconds).
    crop_seconds : float
        Length of a view in seconds.
    reference_seconds : float or None
        Length of the clean reference segment in seconds; None omits it and
        changes nothing about the views.
    seed : int
        With the epoch and the utterance's id, all that decides the crops and
        their augmentation.
    epoch : SharedEpoch
        The present epoch, set before each one.
    num_views : int
        Number of views.
    augmentation : callable, optional
        `augment(samples, rng) -> samples`, applied to each view.
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
    groups = view_groups(crop_seconds, reference_seconds, num_views)
    sampler = ViewSampler(groups, seed, epoch, augmentation, sample_rate)
    add_crop_groups(dataset, sampler)


def add_crop_groups(dataset: DynamicItemDataset, sampler: ViewSampler) -> None:
    """Make a dataset give a sampler's groups of crops (and `id`).

    Arguments
    ---------
    dataset : DynamicItemDataset
        Its rows have `wav` (a file) and `duration` (seconds).
    sampler : ViewSampler
        Its groups' keys become the output keys.

    Raises
    ------
    ValueError
        The dataset lacks a column.
    """
    keys = [group.key for group in sampler.groups]
    available = dataset.pipeline.key_to_node
    missing = [key for key in ("wav", "duration") if key not in available]
    if missing:
        raise ValueError(
            f"Expected a manifest with the columns ID, wav and duration, got "
            f"{', '.join(available)}: add {' and '.join(missing)}"
        )
    dataset.add_dynamic_item(sampler, ["id", "wav", "duration"], keys)
    dataset.set_output_keys(["id", *keys])
