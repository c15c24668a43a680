"""Random crops of one utterance, cut from a single read of its file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssps_plugin.dataio.audio import SAMPLE_RATE, read_audio, tile


@dataclass(frozen=True)
class CropGroup:
    """Crops of one length that end up in one item of the dataset.

    Arguments
    ---------
    key : str
        The item's key in the batch.
    seconds : float
        Length of every crop in seconds.
    num_crops : int, optional
        How many; the item is (num_crops, samples). None gives a single crop
        without that dimension, (samples,); of 0 there is no item.
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
        if not self.seconds > 0:
            raise ValueError(
                f"Expected crops of '{self.key}' longer than 0 seconds, got "
                f"{self.seconds}: change their length in seconds"
            )
        if self.num_crops is not None and self.num_crops < 0:
            raise ValueError(
                f"Expected at least 0 crops in '{self.key}', got "
                f"{self.num_crops}: change its num_crops (num_views of "
                "add_views)"
            )

    def lengths(self, sample_rate: int) -> list[int]:
        """Return each crop's length in samples."""
        num_samples = round(self.seconds * sample_rate)
        return [num_samples] * (1 if self.num_crops is None else self.num_crops)

    def stack(self, crops: Sequence[torch.Tensor]) -> torch.Tensor:
        """Make the item of its crops."""
        return crops[0] if self.num_crops is None else torch.stack(list(crops))


def cut_crops(
    path: str,
    seconds: float,
    lengths: Sequence[int],
    rng: np.random.Generator,
    sample_rate: int = SAMPLE_RATE,
) -> list[torch.Tensor]:
    """Cut crops at independent, uniform positions with a single read.

    What is read goes from the earliest start to the latest end. A crop
    lies within the utterance; an utterance shorter than a crop is repeated.
    (The authors repeat it up to the longest crop first, so that a shorter
    crop may run over the seam; ours only does where it has to.)

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

    Returns
    -------
    list of torch.Tensor
        float32, one (length,) for each of `lengths`; they may share memory.

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
    stretch = read_audio(
        path,
        first / sample_rate,
        (max(stops) - first) / sample_rate,
        sample_rate=sample_rate,
    )
    return [
        tile(stretch[start - first : stop - first], length)
        for start, stop, length in zip(starts, stops, lengths, strict=True)
    ]
