"""Published encoders, written again in plain torch, with other names.

What weights are imported from in the tests: nothing here knows SpeechBrain or
the package.
"""

import torch
from torch import nn


class TDNN(nn.Module):
    """Convolution, ReLU, batch norm."""

    def __init__(self, before, after, width, dilation=1):
        super().__init__()
        self.conv = nn.Conv1d(
            before,
            after,
            width,
            dilation=dilation,
            padding=dilation * (width - 1) // 2,
            padding_mode="reflect" if width > 1 else "zeros",
        )
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x):
        return self.norm(self.conv(x).relu())


class Res2Net(nn.Module):
    """A hierarchy of convolutions over eighths of the channels."""

    def __init__(self, channels, dilation):
        super().__init__()
        part = channels // 8
        self.blocks = nn.ModuleList(
            TDNN(part, part, 3, dilation) for _ in range(7)
        )

    def forward(self, x):
        parts = list(x.chunk(8, 1))
        for number, block in enumerate(self.blocks, 1):
            before = parts[number - 1] if number > 1 else 0
            parts[number] = block(parts[number] + before)
        return torch.cat(parts, 1)


class SqueezeExcitation(nn.Module):
    """Scale channels by a function of their means."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, hidden, 1)
        self.conv2 = nn.Conv1d(hidden, channels, 1)

    def forward(self, x):
        mean = x.mean(2, keepdim=True)
        return x * self.conv2(self.conv1(mean).relu()).sigmoid()


class SERes2Net(nn.Module):
    """A residual block of ECAPA-TDNN."""

    def __init__(self, channels, dilation, se_channels):
        super().__init__()
        self.tdnn1 = TDNN(channels, channels, 1)
        self.res2net_block = Res2Net(channels, dilation)
        self.tdnn2 = TDNN(channels, channels, 1)
        self.se_block = SqueezeExcitation(channels, se_channels)

    def forward(self, x):
        y = self.tdnn2(self.res2net_block(self.tdnn1(x)))
        return self.se_block(y) + x


class Pooling(nn.Module):
    """Attentive statistics with a global context."""

    def __init__(self, channels, attention):
        super().__init__()
        self.tdnn = TDNN(3 * channels, attention, 1)
        self.conv = nn.Conv1d(attention, channels, 1)

    def forward(self, x):
        mean = x.mean(2, keepdim=True).expand_as(x)
        var = x.var(2, unbiased=False, keepdim=True)
        std = var.clamp(min=1e-12).sqrt().expand_as(x)
        scores = self.conv(self.tdnn(torch.cat([x, mean, std], 1)).tanh())
        weights = scores.softmax(2)
        mean = (weights * x).sum(2)
        var = (weights * (x - mean[..., None]).square()).sum(2)
        return torch.cat([mean, var.clamp(min=1e-12).sqrt()], 1)[..., None]


class ECAPA(nn.Module):
    """ECAPA-TDNN (arXiv 2005.07143) with the authors' names."""

    def __init__(
        self, bands, dim, channels=16, last=48, attention=8, se_channels=12
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                TDNN(bands, channels, 5),
                *(SERes2Net(channels, d, se_channels) for d in (2, 3, 4)),
            ]
        )
        self.mfa = TDNN(3 * channels, last, 1)
        self.asp = Pooling(last, attention)
        self.asp_bn = nn.BatchNorm1d(2 * last)
        self.fc = nn.Conv1d(2 * last, dim, 1)

    def forward(self, features):
        """`(batch, bands, frames)` to `(batch, dim)`."""
        x = self.blocks[0](features)
        outputs = []
        for block in self.blocks[1:]:
            x = block(x)
            outputs.append(x)
        pooled = self.asp(self.mfa(torch.cat(outputs, 1)))
        return self.fc(self.asp_bn(pooled)).squeeze(2)


def residual_block(before, after, stride):
    """The layers of a block of Fast ResNet-34, in a dict."""
    layers = {
        "first": nn.Conv2d(before, after, 3, stride, 1, bias=False),
        "first_norm": nn.BatchNorm2d(after),
        "second": nn.Conv2d(after, after, 3, 1, 1, bias=False),
        "second_norm": nn.BatchNorm2d(after),
        "squeeze": nn.Linear(after, after // 8),
        "excite": nn.Linear(after // 8, after),
    }
    if before != after or stride != 1:
        layers["shorten"] = nn.Conv2d(before, after, 1, stride, bias=False)
        layers["shorten_norm"] = nn.BatchNorm2d(after)
    return nn.ModuleDict(layers)


class FastResNet(nn.Module):
    """Fast ResNet-34 (arXiv 2003.11982) with names of nobody's."""

    def __init__(self, dim=512):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 7, (2, 1), 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(16)
        blocks, before = [], 16
        for width, number, stride in (
            (16, 3, 1),
            (32, 4, 2),
            (64, 6, 2),
            (128, 3, 1),
        ):
            for place in range(number):
                one = residual_block(before, width, 1 if place else stride)
                blocks.append(one)
                before = width
        self.residual = nn.ModuleList(blocks)
        self.pool = nn.Linear(128, 128)
        self.context = nn.Linear(128, 1, bias=False)
        self.last = nn.Linear(128, dim)

    def forward(self, features):
        """`(batch, bands, frames)` to `(batch, dim)`."""
        x = self.stem_norm(self.stem(features[:, None]).relu())
        for block in self.residual:
            y = block["first_norm"](block["first"](x).relu())
            y = block["second_norm"](block["second"](y))
            scale = block["squeeze"](y.mean((2, 3))).relu()
            y = y * block["excite"](scale).sigmoid()[..., None, None]
            if "shorten" in block:
                x = block["shorten_norm"](block["shorten"](x))
            x = (x + y).relu()
        frames = x.mean(2).transpose(1, 2)
        weights = self.context(self.pool(frames).tanh()).softmax(1)
        return self.last((weights * frames).sum(1))


def randomise(module, seed=0):
    """Give weights and batch statistics that are not those of a new module."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(value + 0.05 * noise)
    return module.eval()
