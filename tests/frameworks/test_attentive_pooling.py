"""Pooling with one context an utterance, against SpeechBrain's."""

import copy

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import (
    ECAPA_TDNN,
    AttentiveStatisticsPooling,
)
from torch.nn.utils import prune

from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.frameworks.attentive_pooling import (
    SplitAttentivePooling,
    split_attentive_pooling,
)


def make_pooling(global_context=True, dtype=torch.float64):
    torch.manual_seed(0)
    pooling = AttentiveStatisticsPooling(12, 5, global_context)
    return pooling.to(dtype)


def pool(pooling, frames, lengths):
    """Return pooled frames, and gradients of frames and parameters."""
    frames = frames.clone().requires_grad_()
    pooled = pooling(frames, lengths)
    weights = torch.linspace(-1, 1, pooled.numel(), dtype=pooled.dtype)
    (pooled.flatten() * weights).sum().backward()
    return [pooled, frames.grad] + [p.grad for p in pooling.parameters()]


# SpeechBrain divides its mask in float32: by a power of two, exactly.
@pytest.mark.parametrize("lengths", [None, [1.0, 0.5, 0.25]])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("global_context", [True, False])
def test_results_and_gradients_are_speechbrains_to_rounding(
    lengths, training, global_context
):
    published = make_pooling(global_context).train(training)
    split = copy.deepcopy(published)
    assert split_attentive_pooling(split) == 1
    torch.manual_seed(1)
    frames = torch.randn(3, 12, 32, dtype=torch.float64)
    if lengths is not None:
        lengths = torch.tensor(lengths, dtype=torch.float64)
    for expected, got in zip(
        pool(published, frames, lengths),
        pool(split, frames, lengths),
        strict=True,
    ):
        difference = (got - expected).abs().max()
        assert difference <= 3e-14 * max(1, expected.abs().max())
    for expected, got in zip(published.buffers(), split.buffers(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


def test_what_lies_beyond_the_length_counts_for_nothing():
    pooling = make_pooling().eval()
    split_attentive_pooling(pooling)
    torch.manual_seed(1)
    frames = torch.randn(2, 12, 32, dtype=torch.float64)
    lengths = torch.tensor([1.0, 0.5], dtype=torch.float64)
    expected = pooling(frames[1:, :, :16])
    frames[1, :, 16:] = 1e6
    torch.testing.assert_close(pooling(frames, lengths)[1:], expected)


@pytest.mark.parametrize("hook", ["prune", "weight_norm", "own", "other"])
def test_what_hangs_on_the_convolution_acts_as_in_speechbrains(hook):
    published = make_pooling()
    convolution = published.tdnn.conv.conv
    if hook == "prune":
        prune.l1_unstructured(convolution, "weight", 0.5)
    elif hook == "weight_norm":
        torch.nn.utils.weight_norm(convolution)
    elif hook == "own":
        convolution.register_forward_hook(lambda *args: 2 * args[-1])
    else:
        published.tdnn.conv.conv = torch.nn.Sequential(convolution)
    pooling = make_pooling()
    pooling.__dict__.update(published.__dict__)  # of the same modules
    split_attentive_pooling(pooling)
    optimizer = torch.optim.SGD(published.parameters(), 0.1)
    for _ in range(2):  # stale weights would show in the second step
        optimizer.zero_grad()
        frames = torch.randn(3, 12, 32, dtype=torch.float64)
        pooled = pooling(frames)
        torch.testing.assert_close(pooled, published(frames))
        pooled.square().sum().backward()
        optimizer.step()


def test_the_state_is_speechbrains():
    published = ECAPA_TDNN(10, lin_neurons=8, channels=[16] * 4 + [48])
    split = copy.deepcopy(published)
    split_attentive_pooling(split)
    assert list(split.state_dict()) == list(published.state_dict())
    assert published.load_state_dict(split.state_dict())


def test_an_embedding_model_uses_it_and_a_subclass_of_ones_own_stays():
    class Own(AttentiveStatisticsPooling):
        pass

    encoder = ECAPA_TDNN(10, lin_neurons=8, channels=[16] * 4 + [48])
    identity = torch.nn.Identity()
    EmbeddingModel(identity, identity, encoder)
    assert type(encoder.asp) is SplitAttentivePooling
    assert split_attentive_pooling(Own(4, 2)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_constant_frames_have_finite_gradients_in_half_precision(dtype):
    pooling = make_pooling(dtype=torch.float32)
    split_attentive_pooling(pooling)
    frames = torch.ones(2, 12, 8, dtype=dtype, requires_grad=True)
    mean, deviation = pooling._statistics(frames, None)
    (mean + deviation).sum().backward()
    assert frames.grad.isfinite().all()


def test_an_encoder_gives_speechbrains_embeddings_without_lengths():
    torch.manual_seed(0)
    published = ECAPA_TDNN(10, lin_neurons=8, channels=[16] * 4 + [48])
    published = published.double().eval()
    encoder = copy.deepcopy(published)
    identity = torch.nn.Identity()
    model = EmbeddingModel(identity, identity, encoder)
    features = torch.randn(4, 32, 10, dtype=torch.float64)
    expected = published(features, torch.ones(4, dtype=torch.float64))
    embeddings = model.encode(features, None)
    torch.testing.assert_close(
        embeddings, expected.squeeze(1), rtol=1e-12, atol=1e-12
    )
