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


def torchs_weight_norm(module):
    """A linear layer of the same rows, weight-normed by torch, gain 1."""
    linear = nn.Linear(4, 3, bias=False, dtype=module.weight.dtype)
    layer = nn.utils.parametrizations.weight_norm(linear, dim=0)
    gain, direction = layer.parametrizations.weight.parameters()
    with torch.no_grad():
        gain.fill_(1.0)
        direction.copy_(module.weight)
    gain.requires_grad_(False)
    return layer


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_weight_normed_prototypes_are_torchs_weight_norm(kind):
    ours = prototypes(weight_norm=True).double()
    theirs = torchs_weight_norm(ours)
    optimizers = [kind(one.parameters(), lr=0.1) for one in (ours, theirs)]
    for number in range(5):
        rows = F.normalize(features(5 + number).double(), dim=1)
        weights = torch.randn(len(rows), 3, dtype=torch.float64)
        found, expected = ours(rows), theirs(rows)
        torch.testing.assert_close(found, expected)
        for layer, cosines in ((ours, found), (theirs, expected)):
            layer.zero_grad()
            (weights * cosines).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    direction = theirs.parametrizations.weight.original1
    torch.testing.assert_close(ours.weight, direction)
    rows = features().double()
    torch.testing.assert_close(ours.eval()(rows), theirs(rows))


@pytest.mark.parametrize(
    ("kind", "power", "tolerance"),
    [(torch.optim.SGD, 2, 1e-3), (torch.optim.Adam, 1, 0.1)],
)
def test_a_step_turns_weight_normed_prototypes_by_their_norm(
    kind, power, tolerance
):
    # One step from the same directions. Adam's first is the sign of a gradient
    # that is tangential here, and not there.
    torch.manual_seed(0)
    normed = Prototypes(256, 20, weight_norm=True).double()
    unit = Prototypes(256, 20).double()
    norms = normed.weight.detach().norm(dim=1)
    directions = normed.weight.detach() / norms[:, None]
    with torch.no_grad():
        unit.weight.copy_(directions)
    rows = F.normalize(torch.randn(30, 256, dtype=torch.float64), dim=1)
    turned = []
    for module in (normed, unit):
        optimizer = kind(module.parameters(), lr=1e-5)
        module(rows).square().sum().backward()
        optimizer.step()
        now = F.normalize(module.weight.detach(), dim=1)
        turned.append((now - directions).norm(dim=1))
    torch.testing.assert_close(
        turned[0] / turned[1], norms.pow(-power), rtol=tolerance, atol=0
    )
    assert (1.6 if power == 1 else 2.6) < (turned[0] / turned[1]).mean()
    # SGD's step is tangential.
    assert kind is torch.optim.Adam or (normed.weight.norm(dim=1) > norms).all()


def test_a_call_leaves_weight_normed_prototypes_as_they_are():
    unit, normed = prototypes(), prototypes(weight_norm=True)
    before = normed.weight.detach().clone()
    normed.train()(features())
    assert torch.equal(normed.weight, before)
    assert (unit.moved_by_forward, normed.moved_by_forward) == (True, False)
    assert unit.state_dict().keys() == normed.state_dict().keys()
    normed.begin_epoch(1)
    step(normed)
    assert torch.equal(normed.weight, before)
    normed.begin_epoch(2)
    step(normed)
    assert not torch.allclose(normed.weight, before)


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


def test_weight_decay_would_let_weight_normed_prototypes_turn_faster():
    module = Prototypes(4, 3, weight_norm=True)
    assert list(module.undecayed_parameters()) == [module.weight]
    assert list(Prototypes(4, 3).undecayed_parameters()) == []


@pytest.mark.parametrize(("dim", "number"), [(0, 3), (4, 1)])
def test_sizes_that_make_no_sense_are_an_error(dim, number):
    with pytest.raises(ValueError, match="num_prototypes >= 2"):
        Prototypes(dim, number)
