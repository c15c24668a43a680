"""The front end of the published SSPS models: another log-mel spectrogram."""

from collections.abc import Callable

import torch
import torchaudio.functional
from speechbrain.utils.autocast import fwd_default_precision
from torch import Tensor, nn

#: Added to a mel power before the logarithm.
LOG_FLOOR = 1e-6
# Added to a variance before its root, as torch's InstanceNorm1d does.
_VARIANCE_FLOOR = 1e-5


class LogMelSpectrogram(nn.Module):
    """Compute ln(mel power + 1e-6), as the published SSPS models take it.

    It differs from SpeechBrain's Fbank in what lies beyond the ends of a clip
    (its reflection, where SpeechBrain has zeros), in the logarithm (natural
    with a floor that is added, where SpeechBrain has decibels with a floor 80
    dB below the loudest), and in the corners of the mel filters. The published
    weights need it; to train anew, either does.

    Arguments
    ---------
    sample_rate : int
        In Hz.
    n_fft : int
        Samples of a Fourier transform.
    n_mels : int
        Mel bands, from 0 Hz to half of the sample rate.
    win_length, hop_length : float
        Length and shift of the window in milliseconds.
    window : callable
        `window(length) -> (length,)`.
    mel_scale : str
        `"htk"` or `"slaney"`.
    norm : str, optional
        `"slaney"` divides each filter by its width.

    Source: the authors' configurations (Lepage and Dehak, arXiv 2505.14561):
    torchaudio's MelSpectrogram with its defaults, which this equals.

    Example
    -------
    >>> features = LogMelSpectrogram(n_mels=40)
    >>> features(torch.zeros(2, 16000)).shape
    torch.Size([2, 101, 40])
    >>> round(features(torch.zeros(1, 16000)).max().item(), 2)  # ln(1e-6)
    -13.82
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 512,
        n_mels: int = 40,
        win_length: float = 25,
        hop_length: float = 10,
        window: Callable[[int], Tensor] = torch.hamming_window,
        mel_scale: str = "htk",
        norm: str | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.n_mels = n_mels
        self.win_length = round(sample_rate / 1000 * win_length)
        self.hop_length = round(sample_rate / 1000 * hop_length)
        if self.win_length > n_fft:
            raise ValueError(
                f"Expected n_fft of at least {self.win_length}, the samples of "
                f"a window of {win_length} ms, got {n_fft}: change n_fft of "
                "features."
            )
        filters = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1,
            0.0,
            float(sample_rate // 2),
            n_mels,
            sample_rate,
            norm,
            mel_scale,
        )
        # A function of the settings: no part of the weights.
        window_samples = window(self.win_length)
        self.register_buffer("window", window_samples, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    # Powers need float32 under autocast.
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
            `(batch, frames, bands)`, one frame more than `samples / hop`.

        Raises
        ------
        ValueError
            Too few samples to reflect.
        """
        least = self.n_fft // 2 + 1
        if wav.shape[-1] < least:
            raise ValueError(
                f"Expected at least {least} samples, to reflect the ends of a "
                f"clip, got {wav.shape[-1]}: take longer audio."
            )
        spectrum = torch.stft(
            wav,
            self.n_fft,
            self.hop_length,
            self.win_length,
            self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.abs().pow(2).transpose(1, 2)
        mel: Tensor = power @ self.filters
        return (mel + LOG_FLOOR).log()


class InstanceNormalization(nn.Module):
    """Normalise each band of an utterance by its mean and deviation over time.

    As torch's InstanceNorm1d, for utterances of several lengths. SpeechBrain's
    InputNormalization per sentence differs in the deviation alone: of the
    sample, without a floor.

    Arguments
    ---------
    std_norm : bool
        Divide by the standard deviation, or subtract the mean alone.

    Example
    -------
    >>> x = torch.randn(2, 50, 4)
    >>> y = InstanceNormalization()(x, torch.tensor([1.0, 0.5]))
    >>> bool(y[1, :25].mean(0).abs().max() < 1e-6)
    True
    """

    def __init__(self, std_norm: bool = True) -> None:
        super().__init__()
        self.std_norm = std_norm

    def forward(
        self, features: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Normalise features.

        Arguments
        ---------
        features : torch.Tensor
            `(batch, frames, bands)`.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all 1 by default. Frames
            beyond do not count.

        Returns
        -------
        torch.Tensor
            As `features`.
        """
        num_frames = features.shape[1]
        if lengths is None:
            lengths = features.new_ones(len(features))
        place = torch.arange(num_frames, device=features.device)
        num = (lengths * num_frames).round().clamp(min=1)[:, None, None]
        mask = (place[None, :, None] < num).to(features.dtype)
        mean = (features * mask).sum(1, keepdim=True) / num
        centred = features - mean
        if not self.std_norm:
            return centred
        variance = (centred.square() * mask).sum(1, keepdim=True) / num
        return centred * (variance + _VARIANCE_FLOOR).rsqrt()
