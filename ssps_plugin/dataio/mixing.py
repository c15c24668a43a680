"""The signal operations of augmentation: reverberation and noise."""

import torch
from scipy.fft import irfft, next_fast_len, rfft


def reverberate(
    samples: torch.Tensor, impulse_response: torch.Tensor
) -> torch.Tensor:
    """Convolve a waveform with a room's impulse response.

    Length and power stay as they were, and the direct path (the response's
    largest peak) takes no time: the speech stays where it was.

    Arguments
    ---------
    samples : torch.Tensor
        float32, (samples,).
    impulse_response : torch.Tensor
        float32, (taps,).

    Returns
    -------
    torch.Tensor
        (samples,); `samples` itself where either is silent.

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
        float32, (samples,).
    noise : torch.Tensor
        float32, (samples,).
    snr_db : float
        10 log10 of the powers' ratio, over the whole waveform.

    Returns
    -------
    torch.Tensor
        (samples,); `samples` itself where the noise is silent.

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
        (samples,).

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
