"""Augment the crops of a whole batch, on the device that trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.dataio.augmentation.augmentation import Augmentation
from ssps_plugin.dataio.augmentation.folders import AudioFolder

logger = get_logger(__name__)

# What 16-bit files are read by: their samples are whole multiples of it.
_STEP = 2.0**-15


class BatchAugmentation:
    """Reverberate crops and add noise, as their `Augmentation` would.

    With `augment_on="device"` the DataLoader's workers only read and draw: the
    crop, the number of an impulse response, a stretch of noise and a ratio.
    This is the rest, for all crops of one length at once: the same numbers to
    rounding, in float32, by FFT.

    Arguments
    ---------
    augmentation : Augmentation
        What drew. Its impulse responses are read, all of them; one that cannot
        be read is drawn by no worker that starts later.
    longest : int
        Samples of the longest crop: what lies farther from a response's direct
        path is never heard, and is not kept.
    device : torch.device or str
        Where the crops will be.

    Raises
    ------
    RuntimeError
        There is noise or there are rooms to make first.
    TooManyUnreadableError
        More impulse responses than a tenth cannot be read.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 16000, 16000)
    >>> augment = Augmentation(noise_folder=folder, augment_on="device")
    >>> crop = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> drawn = augment.draw(4, np.random.default_rng(0))
    >>> mixed = BatchAugmentation(augment, longest=4).augment(crop, **drawn)
    >>> same = augment(crop, np.random.default_rng(0))
    >>> torch.allclose(mixed, same, atol=1e-5)
    True
    """

    def __init__(
        self,
        augmentation: Augmentation,
        longest: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.drawn_names = augmentation.drawn_names
        self.responses: Tensor | None = None
        self.direct = 0
        if augmentation.rirs is not None:
            table, self.direct = read_responses(
                augmentation.rirs, augmentation.sample_rate, longest
            )
            self.responses = table.to(device)
            logger.info(
                "%d impulse responses take %.0f MB of %s, where crops are "
                "augmented",
                len(table),
                table.numel() * table.element_size() / 1e6,
                device,
            )

    @classmethod
    def of(
        cls, augmentation: Any, groups: Sequence[Any], device: Any
    ) -> "BatchAugmentation | None":
        """Return that of an augmentation, None if workers do it all.

        Arguments
        ---------
        augmentation : object
            Any augmentation, or None.
        groups : sequence of CropGroup
            The groups of crops.
        device : torch.device or str
            Where the crops will be.
        """
        if not isinstance(augmentation, Augmentation):
            return None
        if augmentation.augment_on != "device" or not augmentation.drawn_names:
            return None
        rate = augmentation.sample_rate
        lengths = [
            length
            for group in groups
            if group.augmented
            for length in group.lengths(rate)
        ]
        if not lengths:
            return None
        return cls(augmentation, max(lengths), device)

    def __call__(self, batch: Any, key: str) -> Tensor:
        """Augment the crops of a group.

        Arguments
        ---------
        batch : PaddedBatch
            As `add_crop_groups` makes it, on the device.
        key : str
            The group's key.

        Returns
        -------
        torch.Tensor
            float32, of the crops' shape.
        """
        drawn = {
            name: getattr(batch, f"{key}_{name}").data
            for name in self.drawn_names
        }
        return self.augment(getattr(batch, key).data, **drawn)

    @torch.no_grad()
    def augment(
        self,
        crops: Tensor,
        rir: Tensor | None = None,
        noise: Tensor | None = None,
        snr_db: Tensor | None = None,
    ) -> Tensor:
        """Augment crops of one length with what was drawn for them.

        Arguments
        ---------
        crops : torch.Tensor
            float32, `(..., samples)`; not changed.
        rir : torch.Tensor, optional
            int64, `(...)`, numbers of impulse responses, -1 for none.
        noise : torch.Tensor, optional
            float32, `(..., samples)`.
        snr_db : torch.Tensor, optional
            float32, `(...)`, in dB; infinite for no noise.

        Returns
        -------
        torch.Tensor
            float32, `(..., samples)`.
        """
        shape = crops.shape
        # (crops, samples)
        samples = crops.reshape(-1, shape[-1]).float()
        with torch.autocast(crops.device.type, enabled=False):
            if self.responses is not None and rir is not None:
                samples = self._reverberate(samples, rir.reshape(-1))
            if noise is not None and snr_db is not None:
                samples = add_noises(
                    samples,
                    noise.reshape(-1, shape[-1]).float(),
                    snr_db.reshape(-1).float(),
                )
        return samples.reshape(shape)

    def _reverberate(self, samples: Tensor, rir: Tensor) -> Tensor:
        table: Any = self.responses
        responses = table[rir.clamp(min=0)]  # (crops, taps)
        if responses.dtype == torch.int16:
            responses = responses.float() * _STEP
        wet = reverberate_all(samples, responses, self.direct)
        return torch.where((rir >= 0).unsqueeze(1), wet, samples)


def views_of(
    batch: Any, groups: Sequence[Any], augmentation: BatchAugmentation | None
) -> list[Tensor]:
    """Return each group's crops, augmented here where workers only drew.

    Arguments
    ---------
    batch : PaddedBatch
        As `add_crop_groups` makes it, on the device.
    groups : sequence of CropGroup
        Those of 0 crops are left out.
    augmentation : BatchAugmentation or None
        None where workers augment.

    Returns
    -------
    list of torch.Tensor
        `(batch, num_crops, samples)` each.
    """
    return [
        getattr(batch, group.key).data
        if augmentation is None or not group.augmented
        else augmentation(batch, group.key)
        for group in groups
        if group.num_crops != 0
    ]


def reverberate_all(samples: Tensor, responses: Tensor, direct: int) -> Tensor:
    """Convolve waveforms with impulse responses, as `reverberate` does one.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(crops, samples)`.
    responses : torch.Tensor
        float32, `(crops, taps)`.
    direct : int
        The tap of the direct path, the same in all responses.

    Returns
    -------
    torch.Tensor
        `(crops, samples)`; as it was where it or the response is silent.

    Example
    -------
    >>> echo = torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    >>> reverberate_all(torch.eye(2, 4), echo, direct=2)[:, :2]
    tensor([[0.8944, 0.4472],
            [0.0000, 1.0000]])
    """
    num_samples, num_taps = samples.shape[1], responses.shape[1]
    size = next_fast_len(num_samples + num_taps - 1, real=True)
    spectrum = torch.fft.rfft(samples, size)
    spectrum *= torch.fft.rfft(responses, size)
    full = torch.fft.irfft(spectrum, size)
    wet = full[:, direct : direct + num_samples]
    dry_power, wet_power = _power(samples), _power(wet)
    audible = (dry_power > 0) & (wet_power > 0)
    return torch.where(audible, wet * (dry_power / wet_power).sqrt(), samples)


def add_noises(samples: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add noise to waveforms, each at its signal-to-noise ratio.

    Arguments
    ---------
    samples, noise : torch.Tensor
        float32, `(crops, samples)`.
    snr_db : torch.Tensor
        float32, `(crops,)`, in dB; infinite for no noise.

    Returns
    -------
    torch.Tensor
        `(crops, samples)`; as it was where the noise is silent.

    Example
    -------
    >>> noise = torch.tensor([[8.0, -8.0], [0.0, 0.0]])
    >>> add_noises(torch.ones(2, 2), noise, torch.tensor([0.0, 5.0]))
    tensor([[2., 0.],
            [1., 1.]])
    """
    noise_power = _power(noise)
    gain = (_power(samples) / noise_power).sqrt()
    gain = gain * 10.0 ** (-snr_db.unsqueeze(1) / 20)
    return samples + torch.where(noise_power > 0, gain, 0.0) * noise


def read_responses(
    rirs: AudioFolder, sample_rate: int, longest: int
) -> tuple[Tensor, int]:
    """Read a folder of impulse responses into one padded table.

    Arguments
    ---------
    rirs : AudioFolder
        The folder.
    sample_rate : int
        Samples per second of the table.
    longest : int
        Samples of the longest waveform that they are for.

    Returns
    -------
    torch.Tensor
        `(num_files, taps)`: int16, if that is exact, in steps of 2**-15;
        otherwise float32, scaled to a peak of 1. A file that cannot be read
        has a row of zeros.
    int
        The tap of all direct paths (of the largest peak).
    """

    def cut(samples: Tensor) -> tuple[NDArray[Any], int]:
        response: NDArray[np.float32] = samples.numpy()
        direct = int(np.abs(response).argmax())
        first = max(direct - longest + 1, 0)
        return _shrink(response[first : direct + longest]), direct - first

    rows = rirs.read_all(cut, sample_rate)
    lost = np.zeros(1, np.int16), 0
    rows = [lost if row is None else row for row in rows]
    is_exact = all(response.dtype == np.int16 for response, _ in rows)
    before = max(direct for _, direct in rows)
    after = max(len(response) - direct for response, direct in rows)
    shape = len(rows), before + after
    table = np.zeros(shape, np.int16 if is_exact else np.float32)
    for number, (response, direct) in enumerate(rows):
        if response.dtype == np.int16 and not is_exact:
            response = response * np.float32(_STEP)
        start = before - direct
        table[number, start : start + len(response)] = response
    return torch.from_numpy(table), before


def _shrink(response: NDArray[np.float32]) -> NDArray[Any]:
    """Return a response as int16 if that is exact, without zeros behind it.

    A response's scale does not count: power is kept.
    """
    (heard,) = response.nonzero()
    response = response[: heard[-1] + 1] if len(heard) else response[:1]
    steps = response / np.float32(_STEP)
    in_range = steps.min() >= -(2**15) and steps.max() < 2**15
    if in_range and np.array_equal(steps, steps.round()):
        return steps.astype(np.int16)
    return response / np.abs(response).max()


def _power(samples: Tensor) -> Tensor:
    """Return mean squares, `(crops, 1)`."""
    return samples.square().mean(1, keepdim=True)
