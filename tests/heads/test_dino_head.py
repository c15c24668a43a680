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


def test_a_step_turns_the_output_layer_as_torchs_weight_norm_does():
    torch.manual_seed(0)
    ours = WeightNormalizedLinear(5, 7)
    linear = nn.Linear(5, 7, bias=False)
    theirs = nn.utils.parametrizations.weight_norm(linear, dim=0)
    gain, direction = theirs.parametrizations.weight.parameters()
    with torch.no_grad():
        gain.fill_(1.0)
        direction.copy_(ours.weight)
    gain.requires_grad_(False)
    bottleneck = nn.functional.normalize(torch.randn(4, 5), dim=1)
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        layer(bottleneck).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(ours(bottleneck), theirs(bottleneck))


def test_the_output_layer_starts_as_short_as_torchs_linear():
    # A row turns by the square of its length more slowly.
    ours, linear = WeightNormalizedLinear(64, 4096), nn.Linear(64, 4096)
    norms = ours.weight.norm(dim=1).mean(), linear.weight.norm(dim=1).mean()
    torch.testing.assert_close(*norms, rtol=0.02, atol=0)
