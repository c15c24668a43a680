"""Small embedding models of every kind, with weights that are not trained."""

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.ResNet import ResNet
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization
from torch import nn

from ssps_plugin.frameworks import EmbeddingModel, FastResNet34, Fbank

NUM_MELS, DIM = 24, 16
ENCODERS = {
    "ECAPA_TDNN": lambda: ECAPA_TDNN(
        NUM_MELS,
        lin_neurons=DIM,
        channels=[16, 16, 16, 16, 48],
        attention_channels=8,
    ),
    "ResNet": lambda: ResNet(
        NUM_MELS,
        channels=[4, 4, 8, 8],
        block_sizes=[1, 1, 1, 1],
        lin_neurons=DIM,
    ),
    "Xvector": lambda: Xvector(
        tdnn_channels=[16, 16, 16, 16, 32],
        lin_neurons=DIM,
        in_channels=NUM_MELS,
    ),
    "FastResNet34": lambda: FastResNet34(
        NUM_MELS, DIM, channels=[2, 2, 4, 4], block_sizes=[1, 1, 1, 1]
    ),
}


class MeanEncoder(nn.Module):
    """One layer and a mean: few operations, so that it is traced quickly."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(NUM_MELS, DIM)

    def forward(self, features, lengths=None):
        return self.layer(features).relu().mean(1, keepdim=True)


def make_model(encoder, features=None, normalization=None):
    """Wrap an encoder as recipes do, in eval mode."""
    torch.manual_seed(0)
    model = EmbeddingModel(
        features or Fbank(n_fft=512, n_mels=NUM_MELS),
        normalization or InputNormalization(norm_type="sentence"),
        encoder(),
    )
    for module in model.modules():  # else batch norms do next to nothing
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def noise(num, seconds, rate=16000):
    """Waveforms that are loud at first and nearly silent at the end."""
    generator = torch.Generator().manual_seed(round(num * 1000 * seconds))
    samples = round(seconds * rate)
    wavs = torch.randn(num, samples, generator=generator)
    return wavs * torch.logspace(-1, -4, samples)
