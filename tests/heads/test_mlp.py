"""The MLP head against its formula."""

import pytest
import torch
import torch.nn.functional as F

from ssps_plugin.heads import MLPHead


def test_equals_its_formula():
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
    with pytest.raises(ValueError, match="at least an input and an output"):
        MLPHead(dims)
