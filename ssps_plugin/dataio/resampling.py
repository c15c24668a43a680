"""Resample waveforms, from any sample rate in little memory."""

from dataclasses import dataclass
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
# Samples of a stretch that torchaudio computes at a time, at least.
_TILE_SAMPLES = 3200


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
    source, target = _ratio(from_rate, to_rate)
    if _has_small_kernel(source, target):
        resampled: torch.Tensor = _resampler(from_rate, to_rate)(samples)
        return resampled
    numbers = range(-(-len(samples) * target // source))
    return torch.from_numpy(
        _interpolate(samples.numpy(), source, target, numbers)
    )


@dataclass(frozen=True)
class Stretch:
    """A stretch of a resampled file, from as few of its frames as it takes.

    It is the same, to the last bit, whatever else of the file is read, and
    what the whole file resampled has there, but for rounding: it has the
    file's phase, and edges where the file has some.

    Arguments
    ---------
    first, count : int
        Its first sample, and how many, at `to_rate`.
    from_rate, to_rate : int
        The file's rate and that of the stretch, in Hz.

    Example
    -------
    >>> tone = torch.sin(torch.arange(44100) * 0.1)
    >>> stretch = Stretch(5000, 100, from_rate=44100, to_rate=16000)
    >>> start, stop = stretch.frames()
    >>> part = stretch.resample(tone[start:stop])
    >>> whole = resample(tone, 44100, 16000)
    >>> bool(torch.allclose(part, whole[5000:5100], atol=1e-6))
    True
    """

    first: int
    count: int
    from_rate: int
    to_rate: int

    def frames(self) -> tuple[int, int]:
        """Return from which frame of the file, and up to which, to read.

        They may lie outside of it, where zeros are to be taken.
        """
        source, _ = _ratio(self.from_rate, self.to_rate)
        first, last, context = self._blocks()
        return (first - context) * source, (last + context) * source

    def resample(self, frames: torch.Tensor) -> torch.Tensor:
        """Resample what was read, float32 of `frames()`, to `(count,)`."""
        source, target = _ratio(self.from_rate, self.to_rate)
        first, _, context = self._blocks()
        start = self.first - first * target
        if not _has_small_kernel(source, target):
            start += context * target
            numbers = range(start, start + self.count)
            samples = _interpolate(frames.numpy(), source, target, numbers)
            return torch.from_numpy(samples)
        # Tiles of one size, at places of the file, one by one: how a product
        # of matrices rounds may depend on its size.
        resampler = _resampler(self.from_rate, self.to_rate)
        kernel = resampler.kernel.squeeze(1).T  # (taps, target)
        tile = _tile_blocks(target)
        offset = context * source - resampler.width
        rows = frames[offset:].unfold(0, len(kernel), source)
        tiles = [
            rows[place : place + tile].contiguous() @ kernel
            for place in range(0, len(rows) - tile + 1, tile)
        ]
        resampled = torch.cat(tiles).flatten()
        return resampled[start : start + self.count]

    def _blocks(self) -> tuple[int, int, int]:
        """Return the first block, the end, and how many on either side.

        A block is what both rates have a whole number of samples in.
        """
        source, target = _ratio(self.from_rate, self.to_rate)
        tile = _tile_blocks(target)
        first = self.first // (tile * target)
        last = -(-(self.first + self.count) // (tile * target))
        context = ceil((_width(source, target) + 2) / source)
        return first * tile, last * tile, context


def _tile_blocks(target: int) -> int:
    return ceil(_TILE_SAMPLES / target)


def _ratio(from_rate: int, to_rate: int) -> tuple[int, int]:
    divisor = gcd(from_rate, to_rate)
    return from_rate // divisor, to_rate // divisor


def _has_small_kernel(source: int, target: int) -> bool:
    return target * (source + 2 * _width(source, target)) <= _LARGEST_KERNEL


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    """Build a resampler once for each pair of rates: its kernel is costly."""
    return Resample(from_rate, to_rate)


def _width(source: int, target: int) -> int:
    """Return the reach of the filter in samples, to each side."""
    return ceil(_ZERO_CROSSINGS * source / (min(source, target) * _ROLLOFF))


def _interpolate(
    samples: np.ndarray, source: int, target: int, numbers: range
) -> np.ndarray:
    """Compute some output samples from their neighbours in the input."""
    width = _width(source, target)
    cutoff = min(source, target) * _ROLLOFF / source
    num_taps = 2 * width + 2
    # Zeros outside, as far as the filter reaches.
    padded = np.pad(samples, (width, width + 2))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, num_taps)
    offsets = np.arange(num_taps) - width
    resampled = np.empty(len(numbers), np.float32)
    block = max(_BLOCK_TAPS // num_taps, 1)
    for first in range(0, len(resampled), block):
        part = np.asarray(numbers[first : first + block])
        # In whole numbers: exact however long the waveform is.
        places, remainders = np.divmod(part * source, target)
        times = (offsets - (remainders / target)[:, None]) * cutoff
        taps = np.sinc(times)
        np.clip(times, -_ZERO_CROSSINGS, _ZERO_CROSSINGS, out=times)
        taps *= np.cos(times * (np.pi / _ZERO_CROSSINGS / 2)) ** 2
        products = np.einsum("nt,nt->n", taps, stretches[places])
        resampled[first : first + block] = cutoff * products
    return resampled
