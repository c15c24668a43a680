"""The base of all frameworks, and the embedding model that they train."""

from collections.abc import Iterable, Sequence

import torch
from speechbrain.nnet.CNN import Conv1d
from torch import Tensor, nn


class Framework(nn.Module):
    """Base of the frameworks: one module, called once per step with all views.

    So parallel training, SyncBatchNorm and compilation see everything. A
    framework knows neither where positives go next nor which loss follows.
    The defaults suit a framework of one network without momentum.
    """

    embedding_model: nn.Module

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return anchors and positives of a batch.

        Arguments
        ---------
        *views : torch.Tensor
            One tensor per group of crops, `(batch, num_crops, samples)`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors, of any shape that the loss takes, and positives, `(batch,
            dim)` or `(num_targets, batch, dim)`.
        """
        raise NotImplementedError

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether positives live in the space of `embed`: no head."""
        return False

    @property
    def exported_model(self) -> nn.Module:
        """The embedding model that is verified and exported."""
        return self.embedding_model

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings, `(batch, dim)`, by the exported model.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all full when left out.
        """
        embedding: Tensor = self.exported_model(wavs, lengths)
        return embedding

    def targets(self, positives: Tensor) -> Tensor:
        """Return what anchors are compared with, given final positives.

        Called after substitution, outside the wrapper of parallel training,
        so it may use only what has no gradient.
        """
        return positives

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for a training epoch, counted from 1."""

    def update(self, progress: float) -> None:
        """Follow a real step of the optimiser, with a momentum network.

        Arguments
        ---------
        progress : float
            Share of the training that is done, in [0, 1].
        """

    @property
    def final_momentum(self) -> float | None:
        """Momentum at the end of its schedule; None without a momentum."""
        return None

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that this epoch leaves as they are."""
        return ()


def flatten_view_pair(views: Sequence[Tensor]) -> Tensor:
    """Return the views of the one group, `(2 * batch, samples)`, view by view.

    Raises
    ------
    ValueError
        Another number of groups or views.

    Example
    -------
    >>> import torch
    >>> flatten_view_pair([torch.zeros(4, 2, 16000)]).shape
    torch.Size([8, 16000])
    """
    shapes = [tuple(group.shape) for group in views]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != 2:
        raise ValueError(
            "Expected one group of two views, (batch, 2, samples), got "
            f"{len(shapes)}: {shapes}. Set crop_groups to one group of 2 crops."
        )
    return views[0].transpose(0, 1).flatten(0, 1)


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


def skip_empty_padding(network: nn.Module) -> int:
    """Leave out the padding of convolutions that need none, in place.

    To keep the length, SpeechBrain's `Conv1d` pads its input by reflection,
    by 0 frames too: a copy of the input in the forward pass and of its
    gradient in the backward pass. Without it every bit stays as it is; of a
    small ECAPA-TDNN's step on a CPU it takes an eighth.

    Arguments
    ---------
    network : torch.nn.Module
        What holds the convolutions, at any depth.

    Returns
    -------
    int
        How many no longer pad.

    Example
    -------
    >>> layers = [Conv1d(2, 1, in_channels=2), Conv1d(2, 3, in_channels=2)]
    >>> skip_empty_padding(nn.Sequential(*layers))
    1
    """
    empty = [
        module
        for module in network.modules()
        if isinstance(module, Conv1d)
        and module.padding == "same"
        and (module.kernel_size, module.stride) == (1, 1)
    ]
    for convolution in empty:
        convolution.padding = "valid"
    return len(empty)
