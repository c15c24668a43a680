"""From a waveform to an embedding: features, normalisation, encoder."""

import torch
from torch import Tensor, nn

from ssps_plugin.padding import skip_empty_padding


class EmbeddingModel(nn.Module):
    """Features, normalisation and encoder, as SpeechBrain has them.

    Arguments
    ---------
    features : torch.nn.Module
        `(batch, samples) -> (batch, frames, bands)`, such as SpeechBrain's
        Fbank.
    normalization : torch.nn.Module
        `(features, lengths) -> features`, such as SpeechBrain's
        InputNormalization per sentence.
    encoder : torch.nn.Module
        `(features, lengths) -> (batch, 1, dim)`, such as SpeechBrain's
        ECAPA_TDNN, whose empty paddings are left out from here on.

    Example
    -------
    >>> from speechbrain.lobes.features import Fbank
    >>> from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    >>> from speechbrain.processing.features import InputNormalization
    >>> model = EmbeddingModel(
    ...     Fbank(n_mels=40),
    ...     InputNormalization(norm_type="sentence"),
    ...     ECAPA_TDNN(40, lin_neurons=8, channels=[16] * 5),
    ... )
    >>> model(torch.randn(2, 8000)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, features: nn.Module, normalization: nn.Module, encoder: nn.Module
    ) -> None:
        super().__init__()
        self.features = features
        self.normalization = normalization
        self.encoder = encoder
        skip_empty_padding(encoder)

    def forward(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings: the encoder's output.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float, at the features' sample rate.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all full when left out.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        features, lengths = self.analyse(wavs, lengths)
        return self.encode(features, lengths)

    def analyse(
        self, wavs: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return normalised features and relative lengths.

        A student and its teacher share them, `(batch, frames, bands)` and
        `(batch,)`.
        """
        if lengths is None:
            lengths = torch.ones(len(wavs), device=wavs.device)
        return self.normalization(self.features(wavs), lengths), lengths

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return embeddings of normalised features, `(batch, dim)`."""
        embedding: Tensor = self.encoder(features, lengths)
        return embedding.squeeze(1)
