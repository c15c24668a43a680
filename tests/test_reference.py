"""reference_representation: eval mode, no gradient, everything restored."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DataParallel

from ssps_plugin import reference_representation


def network():
    """Batch norm and dropout behave differently in train mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3)
    )


def inputs():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def expected_of(module):
    """By hand, module by module in eval mode."""
    modes = [part.training for part in module.modules()]
    module.eval()
    expected = F.normalize(module(inputs()).detach(), dim=1)
    for part, mode in zip(module.modules(), modes, strict=True):
        part.training = mode
    return expected


class Brain:
    """As SpeechBrain's: modules in a ModuleDict."""

    def __init__(self, encoder):
        self.modules = nn.ModuleDict({"encoder": encoder, "other": network()})

    def embed(self, wavs, scale=1.0):
        return self.modules.encoder(wavs * scale)


class Framework(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def embed(self, wavs):
        return self.encoder(wavs)[:, None]  # (batch, 1, dim)


def test_a_module_runs_in_eval_mode():
    module = network()
    expected = expected_of(module)
    assert torch.equal(reference_representation(module, inputs()), expected)


def test_a_method_of_a_module_runs_in_eval_mode():
    framework = Framework(network())
    expected = expected_of(framework.encoder)
    found = reference_representation(framework.embed, inputs())
    assert torch.equal(found, expected)


def test_a_method_of_a_brain_runs_in_eval_mode():
    brain = Brain(network())
    expected = expected_of(brain.modules.encoder)
    found = reference_representation(brain.embed, inputs())
    assert torch.equal(found, expected)
    assert brain.modules.other.training


def test_a_function_runs_in_eval_mode_where_its_modules_are_told():
    module = network()
    expected = expected_of(module)
    found = reference_representation(
        lambda wavs: module(wavs), inputs(), modules=module
    )
    assert torch.equal(found, expected)
    assert module.training


def test_a_function_without_its_modules_is_an_error():
    module = network()
    with pytest.raises(ValueError, match=r"modules=self\.modules"):
        reference_representation(lambda wavs: module(wavs), inputs())


def test_operands_reach_the_function():
    brain = Brain(network())
    found = reference_representation(brain.embed, inputs(), scale=2.0)
    expected = F.normalize(brain.modules.eval().encoder(2 * inputs()), dim=1)
    assert torch.equal(found, expected.detach())


def modes_of(module):
    return [part.training for part in module.modules()]


def mixed_modes():
    module = network()
    module[1].eval()  # a frozen batch norm
    return module


def test_every_submodule_gets_its_own_mode_back():
    module = mixed_modes()
    modes = modes_of(module)
    assert len(set(modes)) == 2
    reference_representation(module, inputs())
    assert modes_of(module) == modes
    module.eval()
    reference_representation(module, inputs())
    assert not any(modes_of(module))


def test_modes_come_back_after_an_error_too():
    module = mixed_modes()
    modes = modes_of(module)
    with pytest.raises(RuntimeError):
        reference_representation(module, torch.zeros(5, 99))
    assert modes_of(module) == modes


def test_neither_statistics_nor_gradients_are_touched():
    module = network()
    before = {
        name: value.clone() for name, value in module.state_dict().items()
    }
    wavs = inputs().requires_grad_()
    reference = reference_representation(module, wavs)
    assert not reference.requires_grad
    assert torch.is_grad_enabled()
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_steps_own_backward_goes_through_after_it():
    module = network()
    loss = module(inputs()).sum()
    reference_representation(module, inputs())
    loss.backward()
    assert module[0].weight.grad is not None


@pytest.mark.parametrize("shape", ["module", "in a ModuleDict"])
def test_wrappers_are_set_aside_and_put_back(shape, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise AssertionError("ran through the wrapper")

    monkeypatch.setattr(DataParallel, "forward", refuse)
    module = network()
    expected = expected_of(module)
    wrapper = DataParallel(module)
    if shape == "module":
        found = reference_representation(wrapper, inputs())
    else:
        brain = Brain(wrapper)
        names = list(brain.modules)
        found = reference_representation(brain.embed, inputs())
        assert brain.modules["encoder"] is wrapper
        assert list(brain.modules) == names
    assert torch.equal(found, expected)
    assert all(modes_of(wrapper))


def test_a_wrapper_is_put_back_after_an_error():
    brain = Brain(DataParallel(network()))
    wrapper = brain.modules["encoder"]
    with pytest.raises(RuntimeError):
        reference_representation(brain.embed, torch.zeros(5, 99))
    assert brain.modules["encoder"] is wrapper
    assert all(modes_of(brain.modules))


def test_autocast_still_gives_unit_vectors_in_float32():
    module = network()
    with torch.autocast("cpu", torch.bfloat16):
        reference = reference_representation(module, inputs())
    assert reference.dtype == torch.float32
    torch.testing.assert_close(
        reference.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        reference, expected_of(module), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("shape", [(5,), (5, 2, 3), (5, 1, 1, 3)])
def test_other_than_one_vector_per_utterance_is_an_error(shape):
    module = network()
    with pytest.raises(ValueError, match="one vector per utterance"):
        reference_representation(lambda: torch.ones(shape), modules=module)
    assert module.training


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        ((torch.ones(5, 3), torch.ones(5)), "got tuple"),
        ([[1.0]], "got list"),
        (None, "got NoneType"),
        (torch.ones(5, 3).long(), "got torch.int64 of shape"),
        (torch.ones(5, 3).cfloat(), "got torch.complex64 of shape"),
    ],
)
def test_what_is_no_tensor_of_floats_is_named(returned, named):
    module = network()
    with pytest.raises(ValueError, match=f"one vector per utterance, {named}"):
        reference_representation(lambda: returned, modules=module)
    assert module.training


def test_an_embedding_of_zeros_has_a_reference_of_zeros():
    module = network()
    found = reference_representation(lambda: torch.zeros(2, 3), modules=module)
    assert found.tolist() == [[0.0] * 3] * 2


def test_under_autocast_a_forward_pass_behind_it_has_its_gradients():
    encoder = torch.nn.Linear(4, 3)
    wavs = torch.ones(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reference_representation(encoder, wavs)
        loss = encoder(wavs).float().sum()
    loss.backward()
    assert encoder.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("outer", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", ["bf16", "fp32", None])
def test_the_pass_has_a_precision_of_its_own(outer, precision):
    module = network().eval()
    runs_bf16 = (precision or outer) == "bf16"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, runs_bf16):
        expected = F.normalize(module(inputs()).float(), dim=1)
    with torch.autocast("cpu", torch.bfloat16, enabled=outer == "bf16"):
        reference = reference_representation(
            module, inputs(), precision=precision
        )
        after = module(inputs())
    assert reference.dtype == torch.float32
    assert torch.equal(reference, expected)
    # What follows has the caller's, and its gradient.
    assert after.dtype == (torch.bfloat16 if outer == "bf16" else torch.float32)
    after.sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_another_precision_is_an_error():
    with pytest.raises(ValueError, match="bf16 or null .*reference_precision"):
        reference_representation(network(), inputs(), precision="int8")
