"""A clean reference crop for a recipe that has only augmented ones."""

from speechbrain.dataio.dataset import DynamicItemDataset

from ssps_plugin.dataio.audio import SAMPLE_RATE, audio_seconds
from ssps_plugin.dataio.crops import CropGroup
from ssps_plugin.dataio.shared_epoch import SharedEpoch
from ssps_plugin.dataio.view_sampler import ViewSampler


class ReferenceCrop:
    """Cuts a clean crop of an utterance's file: the item's function.

    Arguments
    ---------
    sampler : ViewSampler
        Cuts its one group.
    """

    def __init__(self, sampler: ViewSampler) -> None:
        self.sampler = sampler

    def __call__(self, utterance_id: str, wav: str) -> object:
        # A recipe's manifest need not have a duration: ask the header.
        return self.sampler(utterance_id, wav, audio_seconds(wav))


def add_reference_view(
    dataset: DynamicItemDataset,
    seconds: float,
    key: str = "reference",
    wav_key: str = "wav",
    seed: int = 0,
    epoch: SharedEpoch | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Add a clean random crop of fixed length to a dataset's output.

    The existing items and output keys stay as they are. Call it after
    `set_output_keys`, which would drop the new key again.

    Arguments
    ---------
    dataset : DynamicItemDataset
        Any SpeechBrain dataset; no column but `wav_key` is read.
    seconds : float
        Length of the crop in seconds (the paper: 4); shorter utterances are
        repeated.
    key : str
        The new item's key: `batch.reference.data` is (batch, samples).
    wav_key : str
        The item that is the audio file's path.
    seed : int
        With the epoch and the utterance's id, all that decides the crop.
    epoch : SharedEpoch, optional
        The present epoch, set before each one; None gives an utterance the
        same crop in all of them.
    sample_rate : int
        Samples per second.

    Raises
    ------
    ValueError
        `seconds` is not above 0, `wav_key` is no item of the dataset, or
        `key` is one already.

    Example
    -------
    >>> import soundfile
    >>> path = str(getfixture("tmp_path") / "ramp.wav")
    >>> soundfile.write(path, [n / 48000 for n in range(48000)], 16000)
    >>> data = {"a": {"wav": path, "text": "hello"}}
    >>> dataset = DynamicItemDataset(data, output_keys=["id", "text"])
    >>> add_reference_view(dataset, seconds=4.0)
    >>> dataset[0]["text"], dataset[0]["reference"].shape
    ('hello', torch.Size([64000]))
    """
    available = dataset.pipeline.key_to_node
    if wav_key not in available:
        raise ValueError(
            f"Expected an item '{wav_key}' with the file's path, got "
            f"{', '.join(available)}: change wav_key"
        )
    if key in available:
        raise ValueError(
            f"The dataset has an item '{key}' already: choose another key"
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
