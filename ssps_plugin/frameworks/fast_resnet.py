"""Fast ResNet-34: a thin residual network over the mel spectrogram."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssps_plugin.checks import check_flag

# Of the squeeze-and-excitation in a block, as in the published weights.
_REDUCTION = 8


class FastResNet34(nn.Module):
    """Compute speaker embeddings by a thin ResNet-34 on log-mel features.

    A convolution of 7 x 7, four stages of 3, 4, 6 and 3 residual blocks, the
    mean over frequency, self-attentive pooling over time and one linear layer.
    1.4 million parameters; a twentieth of a full ResNet-34's.

    Its parts have the names that published weights of it have, so that these
    load. Two things that the paper leaves open are arguments.

    Arguments
    ---------
    input_size : int
        Mel bands.
    lin_neurons : int
        Dimension of the embeddings.
    channels : sequence of int
        Channels of the four stages.
    block_sizes : sequence of int
        Residual blocks of the four stages.
    squeeze_excitation : bool
        Scale the channels of each block by their mean, as in the published
        weights.
    relu_before_norm : bool
        In a block, whether the first convolution's output is rectified before
        it is normalised, as in the code with which the paper came, or after
        it, as in K. He et al. Weights do not say which they were trained with.

    Raises
    ------
    ValueError
        Other than four stages.

    Source: J. S. Chung et al., In defence of metric learning for speaker
    recognition, Interspeech 2020 (arXiv 2003.11982), table 2; self-attentive
    pooling of W. Cai et al., Odyssey 2018.

    Example
    -------
    >>> encoder = FastResNet34(input_size=40, lin_neurons=512)
    >>> encoder(torch.randn(2, 100, 40)).shape
    torch.Size([2, 1, 512])
    >>> sum(p.numel() for p in encoder.parameters())
    1437078
    """

    def __init__(
        self,
        input_size: int = 40,
        lin_neurons: int = 512,
        channels: Sequence[int] = (16, 32, 64, 128),
        block_sizes: Sequence[int] = (3, 4, 6, 3),
        squeeze_excitation: bool = True,
        relu_before_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) != 4 or len(block_sizes) != 4:
            raise ValueError(
                "Expected four stages, got channels "
                f"{list(channels)} and block_sizes {list(block_sizes)}: change "
                "encoder_channels to four numbers."
            )
        check_flag("squeeze_excitation", squeeze_excitation)
        check_flag("relu_before_norm", relu_before_norm)
        self.input_size = input_size
        self.conv1 = nn.Conv2d(1, channels[0], 7, (2, 1), 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        stages = []
        before = channels[0]
        for width, num_blocks, stride in zip(
            channels, block_sizes, (1, 2, 2, 1), strict=True
        ):
            blocks = []
            for number in range(num_blocks):
                first = number == 0
                blocks.append(
                    _ResidualBlock(
                        before if first else width,
                        width,
                        stride if first else 1,
                        squeeze_excitation,
                        relu_before_norm,
                    )
                )
            stages.append(nn.Sequential(*blocks))
            before = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.sap_linear = nn.Linear(before, before)
        self.attention = nn.Parameter(
            nn.init.xavier_normal_(torch.empty(before, 1))
        )
        self.fc = nn.Linear(before, lin_neurons)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )

    def forward(
        self, features: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """Compute embeddings.

        Arguments
        ---------
        features : torch.Tensor
            `(batch, frames, bands)`.
        lengths : torch.Tensor, optional
            `(batch,)`, relative to the longest: frames beyond are not pooled.

        Returns
        -------
        torch.Tensor
            `(batch, 1, dim)`.
        """
        x = features.transpose(1, 2).unsqueeze(1)  # (batch, 1, bands, frames)
        x = self.bn1(self.conv1(x).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        frames = x.mean(2).transpose(1, 2)  # (batch, frames, channels)
        scores = torch.tanh(self.sap_linear(frames)) @ self.attention
        if lengths is not None:
            num_frames = frames.shape[1]
            place = torch.arange(num_frames, device=frames.device)
            is_padding = place >= (lengths * num_frames).ceil()[:, None]
            scores = scores.masked_fill(is_padding[..., None], -torch.inf)
        pooled = (frames * scores.softmax(1)).sum(1)
        embedding: Tensor = self.fc(pooled).unsqueeze(1)
        return embedding


class _ResidualBlock(nn.Module):
    """Add to an input two convolutions of it, its channels scaled."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        squeeze_excitation: bool,
        relu_before_norm: bool,
    ) -> None:
        super().__init__()
        self.relu_before_norm = relu_before_norm
        self.conv1 = nn.Conv2d(
            in_channels, channels, 3, stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = _ChannelScale(channels) if squeeze_excitation else None
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, bands, frames)` to the same, by the stride."""
        residual = x if self.downsample is None else self.downsample(x)
        y = self.conv1(x)
        y = self.bn1(y.relu()) if self.relu_before_norm else self.bn1(y).relu()
        y = self.bn2(self.conv2(y))
        if self.se is not None:
            y = self.se(y)
        return torch.relu(y + residual)


class _ChannelScale(nn.Module):
    """Scale channels by a function of their means (squeeze-excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // _REDUCTION, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale `(batch, channels, bands, frames)`."""
        scale: Tensor = self.fc(x.mean((2, 3)))
        return x * scale[..., None, None]
