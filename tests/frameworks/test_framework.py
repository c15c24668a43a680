"""Skipping paddings of width 0: which ones, and that no result changes."""

import copy

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.nnet.CNN import Conv1d

from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.frameworks.framework import skip_empty_padding


def make_encoder():
    torch.manual_seed(0)
    channels = [16, 16, 16, 16, 48]
    return ECAPA_TDNN(10, lin_neurons=8, channels=channels)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_keep_every_bit(training):
    encoder = make_encoder().train(training)
    bare = copy.deepcopy(encoder)
    assert skip_empty_padding(bare) > 0
    features = torch.randn(4, 30, 10)
    lengths = torch.tensor([1.0, 0.9, 0.5, 1.0])
    embeddings = [network(features, lengths) for network in (encoder, bare)]
    assert torch.equal(*embeddings)
    for embedding in embeddings:
        embedding.square().sum().backward()
    for old, new in zip(encoder.parameters(), bare.parameters(), strict=True):
        assert torch.equal(old.grad, new.grad)
    for old, new in zip(encoder.buffers(), bare.buffers(), strict=True):
        assert torch.equal(old, new)


def test_no_convolution_of_an_embedding_model_pads_by_0_frames(monkeypatch):
    widths = []
    pad = torch.nn.functional.pad

    def noting(tensor, width, *args, **kwargs):
        widths.append(tuple(width))
        return pad(tensor, width, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "pad", noting)
    identity = torch.nn.Identity()
    model = EmbeddingModel(identity, identity, make_encoder())
    model.encode(torch.randn(2, 30, 10), torch.ones(2))
    assert widths and (0, 0) not in widths


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 1, "padding": "causal"},
    ],
)
def test_a_convolution_of_another_kind_is_left_as_it_is(settings):
    convolution = Conv1d(2, in_channels=2, **settings)
    padding = convolution.padding
    assert skip_empty_padding(convolution) == 0
    assert convolution.padding == padding
