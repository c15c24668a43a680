"""SimCLR for speaker embeddings."""

import torch
from torch import Tensor, nn


class SimCLR(nn.Module):
    """Features, encoder and optional projector, called once for both views.

    One module, so that DDP, SyncBatchNorm and compilation see everything.

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
        ECAPA_TDNN.
    projector : torch.nn.Module, optional
        `(batch, dim) -> (batch, projected)`; none by default, as published for
        speaker verification.

    Source: T. Chen et al., ICML 2020 (arXiv 2002.05709); settings of Lepage
    and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).
    """

    def __init__(
        self,
        features: nn.Module,
        normalization: nn.Module,
        encoder: nn.Module,
        projector: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.normalization = normalization
        self.encoder = encoder
        self.projector = nn.Identity() if projector is None else projector

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both views in one pass.

        Arguments
        ---------
        views : torch.Tensor
            `(batch, 2, samples)` float, 16 kHz.

        Returns
        -------
        tuple of torch.Tensor
            Anchors and positives, `(batch, dim)` each, with gradient.

        Raises
        ------
        ValueError
            Not two views.
        """
        if views.dim() != 3 or views.shape[1] != 2:
            raise ValueError(
                "SimCLR expects views of shape (batch, 2, samples), got "
                f"{tuple(views.shape)}. Set num_views to 2."
            )
        # (batch, 2, samples) -> (2 * batch, samples), view by view
        wavs = views.transpose(0, 1).flatten(0, 1)
        anchors, positives = self.projector(self.embed(wavs)).chunk(2)
        return anchors, positives

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return speaker embeddings: the encoder's output.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float, 16 kHz.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all full when left out.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        if lengths is None:
            lengths = torch.ones(len(wavs), device=wavs.device)
        features = self.normalization(self.features(wavs), lengths)
        embedding: Tensor = self.encoder(features, lengths)
        return embedding.squeeze(1)
