"""DINO's head: on the sphere, and weight-normalised."""

import torch
from torch import nn

from ssps_plugin.heads import DINOHead, WeightNormalizedLinear


def head():
    torch.manual_seed(0)
    return DINOHead([6, 8, 5], num_outputs=7)


def test_outputs_are_cosines_with_the_rows_of_the_output_layer():
    layer = WeightNormalizedLinear(5, 7)
    bottleneck = nn.functional.normalize(torch.randn(3, 5), dim=1)
    outputs = layer(bottleneck)
    for row in range(3):
        for column in range(7):
            cosine = nn.functional.cosine_similarity(
                bottleneck[row], layer.weight[column], dim=0
            )
            torch.testing.assert_close(outputs[row, column], cosine)


def test_the_length_of_the_weights_does_not_matter():
    layer = WeightNormalizedLinear(5, 7)
    bottleneck = torch.randn(3, 5)
    before = layer(bottleneck)
    with torch.no_grad():
        layer.weight.mul_(torch.linspace(0.1, 9, 7)[:, None])
    torch.testing.assert_close(layer(bottleneck), before)


def test_the_bottleneck_is_on_the_sphere_and_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bottleneck = head().bottleneck(torch.randn(4, 6))
    assert bottleneck.dtype == torch.float32
    torch.testing.assert_close(bottleneck.norm(dim=1), torch.ones(4))


def test_hidden_layers_have_batch_norm_and_gelu():
    kinds = [type(layer) for layer in head().mlp]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Linear]


def test_forward_is_the_output_layer_of_the_bottleneck():
    model = head().eval()
    embeddings = torch.randn(4, 6)
    expected = model.output(model.bottleneck(embeddings))
    assert torch.equal(model(embeddings), expected)
