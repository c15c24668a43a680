"""Augment waveforms in the dataset: reverberation, then noise."""

import os
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft

from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.dataio.augmentation.folders import (
    AudioFolder,
    check_impulse_responses,
    describe_noise,
    find_noise_folders,
    find_rir_folder,
)

# MUSAN's categories with the paper's ranges of signal-to-noise ratio, in dB.
SNR_DB = {"noise": (0.0, 15.0), "speech": (13.0, 20.0), "music": (5.0, 15.0)}


class Augmentation:
    """Reverberate a waveform, then add noise of one category.

    The result depends on the waveform and the generator alone, unlike that of
    SpeechBrain's `AddNoise` and `AddReverb`, whose state is in no checkpoint.
    Of a noise file only the stretch that is added is read.

    Source: Lepage and Dehak, arXiv 2505.14561: a random room impulse
    response, then one of MUSAN's categories at equal probability.

    Arguments
    ---------
    noise_folder : str or os.PathLike, optional
        MUSAN (`noise`, `speech` and `music`, or some of them) or a folder that
        holds it; or any folder of noise, which then is of the category
        `noise`. None adds no noise.
    rir_folder : str or os.PathLike, optional
        OpenSLR-28 (`RIRS_NOISES`, of which the simulated ones are used) or a
        folder that holds it; or any folder of room impulse responses, at any
        depth. None does not reverberate.
    reverb_probability : float
        Probability of reverberation, 0 to 1.
    noise_probability : float
        Probability of noise, 0 to 1. With 0.5 for both, a waveform gets
        nothing, reverberation, noise or both equally often (DINO's choice).
    snr_db : mapping of str to sequence of float, optional
        The lowest and highest ratio in dB for each category (a sub-folder of
        `noise_folder`); None takes the paper's.
    sample_rate : int
        Samples per second.

    Attributes
    ----------
    notes : list of str
        Where noise and impulse responses come from, for the log.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        A folder holds no audio, or noise where impulse responses are expected
        or the reverse; or a number is out of its range.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "hum.wav", [0.5] * 16000, 16000)
    >>> augment = Augmentation(noise_folder=folder)
    >>> augment(torch.ones(100), np.random.default_rng(0)).shape
    torch.Size([100])
    """

    def __init__(
        self,
        noise_folder: str | os.PathLike[str] | None = None,
        rir_folder: str | os.PathLike[str] | None = None,
        reverb_probability: float = 1.0,
        noise_probability: float = 1.0,
        snr_db: Mapping[str, Sequence[float]] | None = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.reverb_probability = reverb_probability
        self.noise_probability = noise_probability
        self.sample_rate = sample_rate
        self.snr_db = dict(SNR_DB if snr_db is None else snr_db)
        self._check_ranges()
        self.notes: list[str] = []
        self.rirs = None
        if rir_folder is not None:
            self.rirs = self._find_rirs(rir_folder)
        self.noises: dict[str, AudioFolder] = {}
        if noise_folder is not None:
            self.noises = self._find_noises(noise_folder)

    def __call__(
        self, samples: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Augment one waveform.

        Arguments
        ---------
        samples : torch.Tensor
            float32, `(samples,)`; not changed.
        rng : numpy.random.Generator
            The only source of randomness.

        Returns
        -------
        torch.Tensor
            float32, `(samples,)`.
        """
        if self.rirs is not None and rng.random() < self.reverb_probability:
            rir = self.rirs.draw_file(rng, self.sample_rate)
            samples = reverberate(samples, rir)
        if self.noises and rng.random() < self.noise_probability:
            category = list(self.noises)[rng.integers(len(self.noises))]
            noise = self.noises[category].draw_stretch(
                len(samples), rng, self.sample_rate
            )
            lowest, highest = self.snr_db[category]
            samples = add_noise(samples, noise, rng.uniform(lowest, highest))
        return samples

    def _find_rirs(self, rir_folder: str | os.PathLike[str]) -> AudioFolder:
        folder = find_rir_folder(rir_folder)
        self.notes.append(f"Room impulse responses come from {folder}.")
        rirs = AudioFolder(folder, "rir_folder")
        check_impulse_responses(rirs, folder)
        return rirs

    def _find_noises(
        self, noise_folder: str | os.PathLike[str]
    ) -> dict[str, AudioFolder]:
        categories = list(self.snr_db)
        folders = find_noise_folders(noise_folder, categories)
        self.notes.append(describe_noise(noise_folder, folders, categories))
        return {
            category: AudioFolder(folder, "noise_folder")
            for category, folder in folders.items()
        }

    def _check_ranges(self) -> None:
        for key in ("reverb_probability", "noise_probability"):
            value = getattr(self, key)
            if not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"Expected a probability from 0 to 1, got {value}: change "
                    f"{key}"
                )
        for category, bounds in self.snr_db.items():
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ValueError(
                    f"Expected [lowest, highest] in dB for {category}, got "
                    f"{bounds}: change snr_db"
                )
        if not self.snr_db:
            raise ValueError(
                "Expected at least one category of noise, got none: change "
                "snr_db"
            )


def reverberate(
    samples: torch.Tensor, impulse_response: torch.Tensor
) -> torch.Tensor:
    """Convolve a waveform with a room's impulse response.

    Its length and power are kept, and so is the position of the speech: the
    direct path (the response's largest peak) takes no time.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(samples,)`.
    impulse_response : torch.Tensor
        float32, `(taps,)`.

    Returns
    -------
    torch.Tensor
        `(samples,)`; `samples` itself where either is silent.

    Example
    -------
    >>> delayed_echo = torch.tensor([0.0, 0.0, 1.0, 0.5])
    >>> reverberate(torch.tensor([1.0, 0.0, 0.0, 0.0]), delayed_echo)[:2]
    tensor([0.8944, 0.4472])
    """
    num_samples, num_taps = len(samples), len(impulse_response)
    direct = int(impulse_response.abs().argmax())
    size = next_fast_len(num_samples + num_taps - 1, real=True)
    # SciPy's transform of float32 takes half the time of PyTorch's on a CPU.
    spectrum = rfft(samples.numpy(), size)
    spectrum *= rfft(impulse_response.numpy(), size)
    full = irfft(spectrum, size, overwrite_x=True)
    wet = torch.from_numpy(full[direct : direct + num_samples])
    dry_power, wet_power = power(samples), power(wet)
    if not isfinite(wet_power):
        # Both are scaled as 32-bit integers: only the response's shape counts.
        return reverberate(samples, impulse_response / impulse_response[direct])
    if dry_power == 0.0 or wet_power == 0.0:
        return samples
    return wet * (dry_power / wet_power) ** 0.5


def add_noise(
    samples: torch.Tensor, noise: torch.Tensor, snr_db: float
) -> torch.Tensor:
    """Add noise at a signal-to-noise ratio.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(samples,)`.
    noise : torch.Tensor
        float32, `(samples,)`.
    snr_db : float
        10 log10 of the ratio of powers, over the whole waveform.

    Returns
    -------
    torch.Tensor
        `(samples,)`; `samples` itself where the noise is silent.

    Example
    -------
    >>> add_noise(torch.ones(2), torch.tensor([8.0, -8.0]), snr_db=0.0)
    tensor([2., 0.])
    """
    noise_power = power(noise)
    if noise_power == 0.0:
        return samples
    gain = (power(samples) / noise_power) ** 0.5 * 10 ** (-snr_db / 20)
    return samples + gain * noise


def power(samples: torch.Tensor) -> float:
    """Return a waveform's mean square.

    Arguments
    ---------
    samples : torch.Tensor
        `(samples,)`.

    Returns
    -------
    float
        The mean square, not below 0.

    Example
    -------
    >>> power(torch.tensor([1.0, -1.0, 2.0, 0.0]))
    1.5
    """
    return float(torch.dot(samples, samples)) / len(samples)
