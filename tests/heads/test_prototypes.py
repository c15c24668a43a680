"""Prototypes: cosines, unit norm, frozen epochs."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.heads import Prototypes


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


def test_scores_are_cosines():
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
def test_scores_stay_cosines_whatever_a_step_did(training):
    module = prototypes().train(training)
    directions = F.normalize(module.weight.detach() + 1.0, dim=1)
    with torch.no_grad():
        module.weight.copy_(directions * torch.tensor([[0.1], [7.0], [40.0]]))
    found = module(features()).detach()
    torch.testing.assert_close(found, features() @ directions.T)


def test_only_training_changes_the_rows():
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


def test_they_stay_in_the_frozen_epochs_and_move_after_them():
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


def test_without_frozen_epochs_or_without_epochs_they_move():
    for module in (prototypes(frozen_epochs=0), prototypes()):
        before = module.weight.detach().clone()
        if module.frozen_epochs == 0:
            module.begin_epoch(1)
        step(module)
        assert not torch.allclose(module.weight, before)


@pytest.mark.parametrize(("dim", "number"), [(0, 3), (4, 1)])
def test_sizes_that_make_no_sense_are_an_error(dim, number):
    with pytest.raises(ValueError, match="num_prototypes >= 2"):
        Prototypes(dim, number)
