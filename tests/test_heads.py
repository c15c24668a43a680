"""The MLP, DINO's head and the prototypes against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssps_plugin.heads import (
    DINOHead,
    MLPHead,
    Prototypes,
    SDPNHead,
    WeightNormalizedLinear,
    WeightNormalizedPrototypes,
)


def test_the_mlp_equals_its_formula():
    torch.manual_seed(0)
    head = MLPHead([4, 6, 5, 3])
    rows = torch.randn(10, 4)
    parameters = [parameter.double() for parameter in head.parameters()]
    expected = rows.double()
    for layer in range(2):
        weight, bias, scale, shift = parameters[4 * layer : 4 * layer + 4]
        expected = expected @ weight.T + bias
        centred = expected - expected.mean(0)
        deviation = (expected.var(0, unbiased=False) + 1e-5).sqrt()
        expected = F.relu(centred / deviation * scale + shift)
    expected = expected @ parameters[-2].T + parameters[-1]
    torch.testing.assert_close(
        head(rows).double(), expected, atol=1e-5, rtol=1e-4
    )


def test_two_dimensions_are_one_linear_layer():
    head = MLPHead([2, 3])
    rows = torch.randn(4, 2)
    weight, bias = head.parameters()
    assert torch.equal(head(rows), F.linear(rows, weight, bias))


@pytest.mark.parametrize("dims", [[], [4]])
def test_fewer_than_two_dimensions_are_an_error(dims):
    with pytest.raises(
        ValueError, match="Expected at least an input and an output"
    ):
        MLPHead(dims)


def dino_head():
    torch.manual_seed(0)
    return DINOHead([6, 8, 5], num_outputs=7)


def test_outputs_are_cosines_with_the_rows_of_the_output_layer():
    layer = WeightNormalizedLinear(5, 7)
    bottleneck = F.normalize(torch.randn(3, 5), dim=1)
    outputs = layer(bottleneck)
    for row in range(3):
        for column in range(7):
            cosine = F.cosine_similarity(
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
        bottleneck = dino_head().bottleneck(torch.randn(4, 6))
    assert bottleneck.dtype == torch.float32
    torch.testing.assert_close(bottleneck.norm(dim=1), torch.ones(4))


def test_hidden_layers_have_batch_norm_and_gelu():
    kinds = [type(layer) for layer in dino_head().mlp]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Linear]


def test_forward_is_the_output_layer_of_the_bottleneck():
    model = dino_head().eval()
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
    bottleneck = F.normalize(torch.randn(4, 5), dim=1)
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


def prototypes(**options):
    torch.manual_seed(0)
    return Prototypes(dim=4, num_prototypes=3, **options)


def features(rows=5):
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(rows, 4, generator=generator), dim=1)


def step(module, learning_rate=10.0):
    """A step as the Brain takes it."""
    optimizer = torch.optim.SGD(module.parameters(), learning_rate)
    module(features()).square().sum().backward()
    for parameter in module.frozen_parameters():
        parameter.grad = None
    optimizer.step()


def test_prototypes_return_cosines():
    module, rows = prototypes(), features()
    found = module(rows)
    for i, row in enumerate(rows):
        for k, prototype in enumerate(module.weight.detach()):
            cosine = F.cosine_similarity(row, prototype, dim=0)
            torch.testing.assert_close(found[i, k].detach(), cosine)


def test_leading_dimensions_are_kept():
    module, rows = prototypes(), features(6)
    both = module(rows.view(2, 3, 4))
    torch.testing.assert_close(both, module(rows).view(2, 3, 3))


@pytest.mark.parametrize("training", [True, False])
def test_prototypes_return_cosines_whatever_a_step_did(training):
    module = prototypes().train(training)
    directions = F.normalize(module.weight.detach() + 1.0, dim=1)
    with torch.no_grad():
        module.weight.copy_(directions * torch.tensor([[0.1], [7.0], [40.0]]))
    found = module(features()).detach()
    torch.testing.assert_close(found, features() @ directions.T)


def test_only_training_scales_the_prototypes():
    module = prototypes()
    with torch.no_grad():
        module.weight.mul_(3.0)
    before = module.weight.detach().clone()
    module.eval()(features())
    assert torch.equal(module.weight, before)
    module.train()(features())
    torch.testing.assert_close(module.weight.norm(dim=1), torch.ones(3))


def test_gradient_is_that_of_the_cosines_at_unit_norm():
    module, rows = prototypes(), features()
    weights = torch.arange(15.0).view(5, 3)
    (module(rows) * weights).sum().backward()
    torch.testing.assert_close(module.weight.grad, weights.T @ rows)


def test_a_second_call_in_a_step_does_not_spoil_the_first():
    module, rows = prototypes(), features()
    optimizer = torch.optim.SGD(module.parameters(), 1.0)
    module(rows).square().sum().backward()
    optimizer.step()  # off the sphere
    optimizer.zero_grad()
    module(rows).sum().backward()
    once = module.weight.grad.clone()
    module.zero_grad()
    first, second = module(rows), module(rows)
    torch.testing.assert_close(first, second)
    (first.sum() + second.sum()).backward()
    torch.testing.assert_close(module.weight.grad, 2 * once)


def test_prototypes_move_only_after_the_frozen_epochs():
    module = prototypes(frozen_epochs=2)
    before = module.weight.detach().clone()
    for epoch in (1, 2):
        module.begin_epoch(epoch)
        step(module)
        step(module)
        assert torch.equal(module.weight, before)
    module.begin_epoch(3)
    step(module)
    assert not torch.allclose(module.weight, before)


def test_prototypes_move_without_frozen_epochs_or_without_epochs():
    for module in (prototypes(frozen_epochs=0), prototypes()):
        before = module.weight.detach().clone()
        if module.frozen_epochs == 0:
            module.begin_epoch(1)
        step(module)
        assert not torch.allclose(module.weight, before)


def test_sdpns_head_is_dinos_without_its_output_layer():
    torch.manual_seed(0)
    ours, rows = SDPNHead([6, 8, 5]), torch.randn(4, 6)
    torch.testing.assert_close(ours(rows), dino_head().bottleneck(rows))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(rows).dtype == torch.float32


def test_weight_normalised_prototypes_start_uniform_and_short():
    weight = WeightNormalizedPrototypes(256, 1024).cosines.weight.detach()
    # As published: within 1 / 16, so of deviation 1 / 16 / sqrt(3).
    assert 0.0624 < weight.abs().max() <= 0.0625
    assert weight.std().item() == pytest.approx(0.0625 / 3**0.5, rel=0.01)


def test_a_step_turns_weight_normalised_prototypes_and_keeps_none_of_length():
    module = WeightNormalizedPrototypes(4, 3)
    found = module(features())
    directions = F.normalize(module.cosines.weight.detach(), dim=1)
    torch.testing.assert_close(found.detach(), features() @ directions.T)
    (found * torch.arange(15.0).view(5, 3)).sum().backward()
    along = (module.cosines.weight.grad * directions).sum(1)
    torch.testing.assert_close(along, torch.zeros(3), atol=1e-5, rtol=0)
    assert list(module.undecayed_parameters()) == list(module.parameters())


@pytest.mark.parametrize(("dim", "number"), [(0, 3), (4, 1)])
@pytest.mark.parametrize("kind", [Prototypes, WeightNormalizedPrototypes])
def test_sizes_that_make_no_sense_are_an_error(kind, dim, number):
    with pytest.raises(ValueError, match="num_prototypes >= 2"):
        kind(dim, number)
