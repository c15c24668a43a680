"""Several trained encoders as one, in whose space draws are surer."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.pretrained.speaker_encoder import SpeakerEncoder


class EncoderEnsemble(nn.Module):
    """Embed by several trained encoders, and average their cosines.

    An embedding is all encoders' embeddings, each of unit norm, one after
    another, and scaled to unit norm. So the cosine of two is the mean of the
    encoders' cosines. Which voices sound alike to an encoder is partly chance,
    of its seed: where several agree, utterances are more often of one speaker.

    Arguments
    ---------
    encoders : sequence of SpeakerEncoder
        At least one, all of one sample rate. Dimensions may differ.

    Raises
    ------
    ValueError
        There is no encoder, or they take different sample rates.

    Example
    -------
    >>> class Halves(nn.Module):  # a second is two numbers
    ...     def forward(self, wavs, lengths=None):
    ...         return wavs.unflatten(1, (2, -1)).mean(2)
    >>> encoders = [SpeakerEncoder(Halves(), 4, device="cpu") for _ in "ab"]
    >>> wav = torch.tensor([[3.0, 3.0, 4.0, 4.0]])
    >>> [round(x, 3) for x in EncoderEnsemble(encoders)(wav)[0].tolist()]
    [0.424, 0.566, 0.424, 0.566]
    """

    def __init__(self, encoders: Sequence[SpeakerEncoder]) -> None:
        super().__init__()
        if not encoders:
            raise ValueError("Expected encoders to embed by, got none.")
        rates = sorted({encoder.sample_rate for encoder in encoders})
        if len(rates) > 1:
            raise ValueError(
                "Expected encoders of one sample rate, got "
                f"{' and '.join(map(str, rates))} Hz: leave those of another "
                "out."
            )
        self.encoders = nn.ModuleList(encoders)
        #: Samples per second that the encoders take.
        self.sample_rate = rates[0]
        #: Length of an embedding.
        self.embedding_dim = sum(one.embedding_dim for one in encoders)

    @classmethod
    def from_folders(
        cls,
        folders: Sequence[str | os.PathLike[str]],
        *,
        device: torch.device | str | None = None,
    ) -> EncoderEnsemble:
        """Load the encoders of runs and exports.

        Arguments
        ---------
        folders : sequence of str or os.PathLike
            As `SpeakerEncoder.from_folder` takes them, which raises the
            errors.
        device : torch.device or str, optional
            A GPU if there is one, by default.

        Returns
        -------
        EncoderEnsemble

        Raises
        ------
        ValueError
            One folder, not a list of them.
        """
        if isinstance(folders, (str, os.PathLike)):
            raise ValueError(
                f"Expected a list of folders, got {folders}: change it to "
                f"[{folders}] (in a YAML, as the one argument: [[{folders}]])."
            )
        return cls(
            [
                SpeakerEncoder.from_folder(path, device=device)
                for path in folders
            ]
        )

    def forward(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float, at `sample_rate`.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all 1 by default.

        Returns
        -------
        torch.Tensor
            `(batch, embedding_dim)` float32, of unit norm.
        """
        parts = [
            F.normalize(encoder(wavs, lengths).float(), dim=1)
            for encoder in self.encoders
        ]
        return torch.cat(parts, dim=1) / len(parts) ** 0.5
