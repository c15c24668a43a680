"""The base of all frameworks, and the embedding model that they train."""

from collections.abc import Iterable, Sequence

import torch
from speechbrain.nnet.CNN import Conv1d
from speechbrain.nnet.pooling import StatisticsPooling
from torch import Tensor, nn

from ssps_plugin.frameworks.attentive_pooling import split_attentive_pooling

# Between the least and the most that SpeechBrain's pooling adds.
_MEAN_POOLING_NOISE = 5e-5


class Framework(nn.Module):
    """Base of the frameworks, which map views to anchors and positives.

    A framework is one module that is called once per step with all views. So
    parallel training, SyncBatchNorm and compilation see everything. It knows
    neither the sampler nor the loss. The defaults are those of a framework of
    one network, without a momentum network.
    """

    embedding_model: nn.Module
    #: `(batch, dim)`, without gradient: what `exported_model` made of every
    #: utterance's first view in the last forward pass.
    first_view_embedding: Tensor | None = None

    def forward(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return anchors and positives of a batch.

        Arguments
        ---------
        *views : torch.Tensor
            One tensor per group of crops, `(batch, num_crops, samples)`.

        Returns
        -------
        tuple of torch.Tensor
            Anchors, of any shape that the loss takes, and positives,
            `(batch, dim)` or `(num_targets, batch, dim)`.
        """
        raise NotImplementedError

    @property
    def positives_are_embeddings(self) -> bool:
        """Whether positives are embeddings, without a head after them."""
        return False

    @property
    def exported_model(self) -> nn.Module:
        """The embedding model that is verified and exported."""
        return self.embedding_model

    def embed(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute embeddings with the exported model.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all 1 by default.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        embedding: Tensor = self.exported_model(wavs, lengths)
        return embedding

    def targets(self, positives: Tensor) -> Tensor:
        """Map positives to what the loss compares anchors with.

        Called after substitution, outside the wrapper of parallel training, so
        it may use only parameters without gradient.

        Arguments
        ---------
        positives : torch.Tensor
            As `forward` returns them, substituted or not.
        """
        return positives

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for a training epoch, counted from 1."""

    def update(self, progress: float) -> None:
        """Update a momentum network, after a real step of the optimiser.

        Arguments
        ---------
        progress : float
            Fraction of the training that is done, in [0, 1].
        """

    @property
    def final_momentum(self) -> float | None:
        """Momentum at the end of its schedule; None without momentum."""
        return None

    def frozen_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that do not move in this epoch."""
        return ()


def flatten_view_pair(views: Sequence[Tensor]) -> Tensor:
    """Flatten one group of two views into one batch.

    Arguments
    ---------
    views : sequence of torch.Tensor
        One group, `(batch, 2, samples)`.

    Returns
    -------
    torch.Tensor
        `(2 * batch, samples)`: all first views, then all second ones.

    Raises
    ------
    ValueError
        Another number of groups or views.

    Example
    -------
    >>> flatten_view_pair([torch.zeros(4, 2, 16000)]).shape
    torch.Size([8, 16000])
    """
    shapes = [tuple(group.shape) for group in views]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != 2:
        raise ValueError(
            "Expected one group of two views, (batch, 2, samples), got shapes "
            f"{shapes}: change crop_groups to one group of 2 crops."
        )
    return views[0].transpose(0, 1).flatten(0, 1)


class EmbeddingModel(nn.Module):
    """Compute embeddings: features, normalisation and encoder in a row.

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
        ECAPA_TDNN; lengths are None where all are full. It is changed in place
        by `skip_empty_padding` and `split_attentive_pooling`.

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
        split_attentive_pooling(encoder)
        fix_pooling_noise(encoder)
        for name, parameter in features.named_parameters():
            # Of masks, which there are none of in eval mode: parallel training
            # waits for the gradient of every parameter that is trained.
            if name.endswith("masked_spec_embed"):
                parameter.requires_grad_(False)

    @property
    def has_fixed_features(self) -> bool:
        """Whether features are the same for a network and its average."""
        return not any(p.requires_grad for p in self.features.parameters())

    def train(self, mode: bool = True) -> "EmbeddingModel":
        """Set the mode; a pre-trained front end stays in eval mode.

        It has dropout, layers that are left out and masks, which make its
        features, frozen or not, those of another model.
        """
        super().train(mode)
        for module in self.features.modules():
            if _is_pretrained(module):
                module.eval()
        return self

    def forward(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute embeddings, the encoder's output.

        Arguments
        ---------
        wavs : torch.Tensor
            `(batch, samples)` float, at the features' sample rate.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest; all 1 by default.

        Returns
        -------
        torch.Tensor
            `(batch, dim)`.
        """
        features, lengths = self.compute_features(wavs, lengths)
        return self.encode(features, lengths)

    def compute_features(
        self, wavs: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute normalised features, which two networks may share.

        Arguments
        ---------
        wavs, lengths
            As in `forward`.

        Returns
        -------
        torch.Tensor
            Features, `(batch, frames, bands)`.
        torch.Tensor or None
            The lengths, as they were given.
        """
        relative = lengths
        if relative is None:  # which normalisation does not take
            relative = torch.ones(len(wavs), device=wavs.device)
        return self.normalization(self.features(wavs), relative), lengths

    def encode(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Encode normalised features to embeddings, `(batch, dim)`."""
        embedding: Tensor = self.encoder(features, lengths)
        return embedding.squeeze(1)


def _is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a model of Hugging Face's transformers."""
    return any(
        base.__module__.startswith("transformers.")
        for base in type(module).__mro__
    )


def skip_empty_padding(network: nn.Module) -> int:
    """Skip the padding of convolutions that need none, in place.

    To keep the length, SpeechBrain's `Conv1d` pads its input by reflection,
    even by 0 frames. That copies the input in the forward pass and its gradient
    in the backward pass. Without it the results are the same, bit for bit, and
    a step of a small ECAPA-TDNN on a CPU takes an eighth less time.

    Arguments
    ---------
    network : torch.nn.Module
        Contains the convolutions, at any depth.

    Returns
    -------
    int
        Number of convolutions that no longer pad.

    Example
    -------
    >>> layers = [Conv1d(2, 1, in_channels=2), Conv1d(2, 3, in_channels=2)]
    >>> skip_empty_padding(nn.Sequential(*layers))
    1
    """
    convolutions = [
        module
        for module in network.modules()
        if isinstance(module, Conv1d)
        and module.padding == "same"
        and (module.kernel_size, module.stride) == (1, 1)
    ]
    for convolution in convolutions:
        convolution.padding = "valid"
    return len(convolutions)


def fix_pooling_noise(network: nn.Module) -> int:
    """Replace the noise that SpeechBrain's pooling adds by its mean, in place.

    `StatisticsPooling`, of x-vectors, adds noise between 1e-5 and 9e-5 to the
    mean over time, in evaluation, too: two passes over one recording differ,
    and a resumed run differs from one that was not stopped.

    Arguments
    ---------
    network : torch.nn.Module
        Contains the pooling, at any depth.

    Returns
    -------
    int
        Number of poolings that add a constant now.

    Example
    -------
    >>> pooling = StatisticsPooling()
    >>> fix_pooling_noise(pooling)
    1
    >>> x = torch.randn(1, 9, 3)
    >>> torch.equal(pooling(x), pooling(x))
    True
    """
    poolings = [
        module
        for module in network.modules()
        if isinstance(module, StatisticsPooling)
    ]
    for pooling in poolings:
        # A function, not a bound method: so that a copy is one of its own.
        pooling._get_gauss_noise = _mean_of_noise
    return len(poolings)


def _mean_of_noise(
    shape: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    return torch.full(tuple(shape), _MEAN_POOLING_NOISE, device=device)
