"""SpeechBrain's log-mel filter banks with a window of one's choice."""

from collections.abc import Callable
from typing import Any

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import STFT
from torch import Tensor


class WindowedFbank(Fbank):
    """SpeechBrain's Fbank, whose window is a Hamming window otherwise.

    Arguments
    ---------
    window : callable
        `window(length) -> (length,)`, such as `torch.hann_window`.
    sample_rate, n_fft : int
        As in Fbank.
    win_length, hop_length : float
        Milliseconds, as in Fbank.
    **kwargs
        The others of Fbank.

    Example
    -------
    >>> features = WindowedFbank(torch.hann_window, n_mels=80)
    >>> features(torch.randn(2, 16000)).shape
    torch.Size([2, 101, 80])
    """

    def __init__(
        self,
        window: Callable[[int], Tensor] = torch.hann_window,
        sample_rate: int = 16000,
        n_fft: int = 512,
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
        self.compute_STFT = STFT(**options, window_fn=window)
