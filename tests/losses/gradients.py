"""A loss with its gradients, and how these are compared."""

import torch


def with_gradients(function, *leaves):
    """Return a loss and its gradient in every leaf."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    loss = function(*leaves)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def assert_close(found, expected, **tolerance):
    """Check float32 results, one by one, against those in float64."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, **tolerance)


def assert_equal(found, expected):
    """Check results, one by one, to the last bit."""
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
