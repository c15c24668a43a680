"""Resample waveforms, from any sample rate in little memory."""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
import torch
from torchaudio.transforms import Resample

# torchaudio tabulates its filter for every phase between two rates: for 44.1
# to 16 kHz 0.3 MB, for coprime rates such as 11127 to 16000 Hz gigabytes. So
# many numbers (16 MB) at most; the rates that recorders have take far fewer.
_LARGEST_KERNEL = 2**22
# The parameters of torchaudio's filter.
_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99
# Filter taps that are computed at a time: 2 MB of float64.
_BLOCK_TAPS = 2**18


def resample(
    samples: torch.Tensor, from_rate: int, to_rate: int
) -> torch.Tensor:
    """Resample a waveform by a windowed sinc, whatever the two rates.

    By torchaudio where its table of the filter is small, which holds for all
    usual rates. Else the same filter is computed for each sample instead, in
    about 25 ms for each second: equal but for rounding.

    Arguments
    ---------
    samples : torch.Tensor
        float32, `(samples,)`.
    from_rate, to_rate : int
        Its rate and that of the result, in Hz.

    Returns
    -------
    torch.Tensor
        float32, `(ceil(samples * to_rate / from_rate),)`.

    Example
    -------
    >>> tone = torch.sin(torch.arange(11127) * 0.1)
    >>> resample(tone, 11127, 16000).shape
    torch.Size([16000])
    """
    divisor = gcd(from_rate, to_rate)
    source, target = from_rate // divisor, to_rate // divisor
    if target * (source + 2 * _width(source, target)) <= _LARGEST_KERNEL:
        resampled: torch.Tensor = _resampler(from_rate, to_rate)(samples)
        return resampled
    return torch.from_numpy(_interpolate(samples.numpy(), source, target))


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    """Build a resampler once for each pair of rates: its kernel is costly."""
    return Resample(from_rate, to_rate)


def _width(source: int, target: int) -> int:
    """Return the reach of the filter in samples, to each side."""
    return ceil(_ZERO_CROSSINGS * source / (min(source, target) * _ROLLOFF))


def _interpolate(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Compute each output sample from its neighbours in the input."""
    width = _width(source, target)
    cutoff = min(source, target) * _ROLLOFF / source
    num_taps = 2 * width + 2
    # Zeros outside, as far as the filter reaches.
    padded = np.pad(samples, (width, width + 2))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, num_taps)
    offsets = np.arange(num_taps) - width
    resampled = np.empty(-(-len(samples) * target // source), np.float32)
    block = max(_BLOCK_TAPS // num_taps, 1)
    for first in range(0, len(resampled), block):
        numbers = np.arange(first, min(first + block, len(resampled)))
        # In whole numbers: exact however long the waveform is.
        places, remainders = np.divmod(numbers * source, target)
        times = (offsets - (remainders / target)[:, None]) * cutoff
        taps = np.sinc(times)
        np.clip(times, -_ZERO_CROSSINGS, _ZERO_CROSSINGS, out=times)
        taps *= np.cos(times * (np.pi / _ZERO_CROSSINGS / 2)) ** 2
        products = np.einsum("nt,nt->n", taps, stretches[places])
        resampled[numbers] = cutoff * products
    return resampled
