"""An embedding model as one program, without Python code or complex numbers.

Tracers (`torch.export`, ONNX) take the operations of a model and leave its code
behind. Some of SpeechBrain's modules stand in their way: the Fourier transform
has complex numbers, masks of lengths fix the size of a batch. Those are
replaced here by modules that compute the same from real numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import STFT, InputNormalization
from torch import Tensor, nn

from ssps_plugin.frameworks import EmbeddingModel, LogMelSpectrogram
from ssps_plugin.frameworks.log_mel import LOG_FLOOR


class TraceableModel(nn.Module):
    """Map waveforms of one length to embeddings, in a form that can be traced.

    It is a copy of an embedding model, on the CPU, in float32 and in eval mode.
    All lengths are full: nothing is padded.

    Arguments
    ---------
    model : EmbeddingModel
        It is not changed.

    Raises
    ------
    ValueError
        The normalisation depends on the other utterances of a batch, or on
        statistics that were never collected.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    >>> model = EmbeddingModel(
    ...     Fbank(n_mels=40),
    ...     InputNormalization(norm_type="sentence"),
    ...     ECAPA_TDNN(40, lin_neurons=8, channels=[16] * 5),
    ... ).eval()
    >>> wavs = torch.randn(2, 8000)
    >>> torch.allclose(TraceableModel(model)(wavs), model(wavs), atol=1e-5)
    True
    """

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu().float()
        self.features = model.features
        self.normalization = model.normalization
        self.encoder = model.encoder
        _replace_modules(self)
        self.eval().requires_grad_(False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute embeddings.

        Arguments
        ---------
        waveform : torch.Tensor
            `(batch, samples)`.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        # Shapes are asked for by `shape`: len() would fix them in the program.
        full = waveform.new_ones(waveform.shape[0])
        features = self.normalization(self.features(waveform), full)
        embedding: Tensor = self.encoder(features, None)
        return embedding.flatten(1)


class ConvolutionalSTFT(nn.Module):
    """Compute the short-time Fourier transform by one real convolution.

    Each output channel is the window times a cosine or a sine: the matrix of
    the discrete Fourier transform, applied at each shift of the window.
    Rounding is as large as that of the fast transform (some 0.001 dB in the
    weakest bands of speech).

    Arguments
    ---------
    window : torch.Tensor
        `(length,)`, at most `n_fft`.
    n_fft : int
        Samples of a transform.
    hop_length : int
        Samples between two windows.
    center : bool
        Pad the ends by half a transform.
    pad_mode : str
        Such as `"constant"` or `"reflect"`.
    normalized : bool
        Divide by the root of `n_fft`.

    Example
    -------
    >>> stft = STFT(16000, n_fft=512, window_fn=torch.hann_window)
    >>> convolution = ConvolutionalSTFT(torch.hann_window(400), 512, 160)
    >>> wavs = torch.randn(2, 4000)
    >>> torch.allclose(convolution(wavs), stft(wavs), atol=1e-4)
    True
    """

    kernel: Tensor

    def __init__(
        self,
        window: Tensor,
        n_fft: int,
        hop_length: int,
        center: bool = True,
        pad_mode: str = "constant",
        normalized: bool = False,
    ) -> None:
        super().__init__()
        length = len(window)
        # torch centres a window that is shorter than the transform.
        first = (n_fft - length) // 2
        samples = torch.arange(length, dtype=torch.float64) + first
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        # Whole turns are taken off first: large angles have lost digits.
        turns = torch.outer(bins, samples).remainder(n_fft) / n_fft
        angles = 2 * math.pi * turns
        waves = torch.cat([angles.cos(), -angles.sin()])
        waves = waves * window.double().cpu()
        if normalized:
            waves = waves / math.sqrt(n_fft)
        self.register_buffer("kernel", waves.float().unsqueeze(1))
        self.hop_length = hop_length
        self.centre = n_fft // 2 if center else 0
        self.pad_mode = pad_mode
        # What the window does not reach of a frame is not read.
        self.skipped = (first, n_fft - length - first)

    def forward(self, wavs: Tensor) -> Tensor:
        """Transform `(batch, samples)` to `(batch, frames, bins, 2)`."""
        before, after = (self.centre - skipped for skipped in self.skipped)
        if self.pad_mode == "constant":
            wavs = F.pad(wavs, (before, after))
        else:
            wavs = F.pad(wavs[:, None], (self.centre,) * 2, self.pad_mode)[:, 0]
            end = wavs.shape[1] - self.skipped[1]
            wavs = wavs[:, self.skipped[0] : end]
        parts = F.conv1d(wavs[:, None], self.kernel, stride=self.hop_length)
        real, imaginary = parts.transpose(1, 2).chunk(2, dim=2)
        return torch.stack([real, imaginary], dim=-1)


class RealLogMel(nn.Module):
    """Compute `LogMelSpectrogram` by a `ConvolutionalSTFT`.

    Arguments
    ---------
    features : LogMelSpectrogram
        What is computed.
    """

    filters: Tensor

    def __init__(self, features: LogMelSpectrogram) -> None:
        super().__init__()
        self.compute_stft = ConvolutionalSTFT(
            features.window,
            features.n_fft,
            features.hop_length,
            pad_mode="reflect",
        )
        self.register_buffer("filters", features.filters)

    def forward(self, wavs: Tensor) -> Tensor:
        """Compute `(batch, frames, bands)`."""
        real, imaginary = self.compute_stft(wavs).unbind(-1)
        mel = (real * real + imaginary * imaginary) @ self.filters
        return (mel + LOG_FLOOR).log()


class FullNormalization(nn.Module):
    """Normalise features as SpeechBrain does, where all lengths are full.

    Arguments
    ---------
    normalization : speechbrain.processing.features.InputNormalization
        Per sentence, or global with collected statistics.

    Raises
    ------
    ValueError
        It is per batch, or global without statistics.

    Example
    -------
    >>> normalization = InputNormalization(norm_type="sentence")
    >>> features = torch.randn(2, 50, 8)
    >>> expected = normalization(features, torch.ones(2))
    >>> normalized = FullNormalization(normalization)(features)
    >>> torch.allclose(normalized, expected, atol=1e-6)
    True
    """

    mean: Tensor
    std: Tensor

    def __init__(self, normalization: InputNormalization) -> None:
        super().__init__()
        kind = normalization.norm_type
        if kind == "batch":
            raise ValueError(
                "Expected a normalisation that does not depend on the other "
                "utterances of a batch, got norm_type batch: change "
                "normalization to norm_type: sentence."
            )
        self.is_per_sentence = kind == "sentence"
        if not self.is_per_sentence and not normalization.count:
            raise ValueError(
                "Expected statistics for norm_type global, got none: load a "
                "model that was trained with them, or change normalization to "
                "norm_type: sentence."
            )
        self.epsilon = normalization.epsilon
        self.std_norm = normalization.std_norm
        if not self.is_per_sentence:
            self.register_buffer("mean", normalization.glob_mean.clone())
            self.register_buffer("std", normalization.glob_std.clone())

    def forward(
        self, features: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Normalise `(batch, frames, bands)`; `lengths` are not read."""
        if self.is_per_sentence:
            mean = features.mean(1, keepdim=True)
            std = (features - mean).square().mean(1, keepdim=True).sqrt()
        else:
            mean, std = self.mean, self.std
        centred = features - mean
        return centred / std.clamp(self.epsilon) if self.std_norm else centred


class LayersInOrder(nn.Module):
    """Run the layers of SpeechBrain's x-vector one after the other.

    SpeechBrain offers lengths to each layer and catches the error of those
    that take none, which a tracer does not survive.

    Arguments
    ---------
    network : speechbrain.lobes.models.Xvector.Xvector
        What is computed.
    """

    def __init__(self, network: Xvector) -> None:
        super().__init__()
        self.blocks = network.blocks

    def forward(
        self, features: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Compute `(batch, 1, dim)`; `lengths` are not read."""
        for block in self.blocks:
            features = block(features)
        return features


def _convolutional_stft(stft: STFT) -> ConvolutionalSTFT:
    """Replace SpeechBrain's transform.

    Raises
    ------
    ValueError
        It returns negative frequencies, too.
    """
    if not stft.onesided:
        raise ValueError(
            "Expected a Fourier transform with onesided=True, got one with "
            "negative frequencies: change features."
        )
    return ConvolutionalSTFT(
        stft.window,
        stft.n_fft,
        stft.hop_length,
        stft.center,
        stft.pad_mode,
        stft.normalized_stft,
    )


_REPLACEMENTS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    STFT: _convolutional_stft,
    LogMelSpectrogram: RealLogMel,
    InputNormalization: FullNormalization,
    Xvector: LayersInOrder,
}


def _replace_modules(module: nn.Module) -> None:
    """Replace what cannot be traced, at any depth, in place."""
    for name, child in module.named_children():
        replace = _REPLACEMENTS.get(type(child))
        if replace is None:
            _replace_modules(child)
        else:
            setattr(module, name, replace(child))
