"""Reference representations: the encoder in eval mode, without gradient."""

from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.distributed import WRAPPERS, without_wrapper

_PRECISIONS = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def reference_representation(
    embed: Callable[..., Tensor],
    *inputs: Any,
    modules: nn.Module | None = None,
    in_eval_mode: bool = True,
    precision: str | None = None,
    **operands: Any,
) -> Tensor:
    """Embed a clean reference segment, as SSPS compares utterances.

    The modules run in eval mode, without gradient and without their DDP
    wrappers, so that neither running statistics nor the step's backward pass
    are touched. Every module's mode is restored, also after an error.

    Arguments
    ---------
    embed : callable
        `embed(*inputs, **operands) -> (batch, dim)` or `(batch, 1, dim)`: a
        module, a method of a module, or a method of a Brain.
    *inputs, **operands
        Passed to `embed`.
    modules : torch.nn.Module
        The modules that `embed` runs, where it is a plain function, from which
        they cannot be found.
    in_eval_mode : bool
        False leaves the modules in the mode they are in, so that batch
        statistics are used and updated: as published for DINO's teacher.
    precision : str, optional
        Of this pass alone: "bf16", "fp16" or "fp32"; that of the caller by
        default. References are float32 in any case.

    Returns
    -------
    torch.Tensor
        `(batch, dim)` float32, L2-normalised, without gradient.

    Raises
    ------
    ValueError
        It is not known which modules `embed` runs, or it does not return one
        vector per utterance, or another `precision`.

    Source: Lepage and Dehak, SSPS, Interspeech 2025 (arXiv 2505.14561).

    Example
    -------
    >>> encoder = torch.nn.BatchNorm1d(2)
    >>> reference_representation(encoder, torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    >>> encoder.training
    True
    """
    owner = modules if modules is not None else _modules_of(embed)
    mode = _evaluating(owner) if in_eval_mode else nullcontext()
    cast = _autocast(precision, inputs)
    with torch.no_grad(), _unwrapped(owner, embed) as bare, mode, cast:
        representation = bare(*inputs, **operands)
        # Weights that autocast has cast here carry no gradient: a forward pass
        # that follows must not reuse them.
        torch.clear_autocast_cache()
    return F.normalize(_one_vector_each(representation).float(), dim=-1)


def _one_vector_each(representation: Any) -> Tensor:
    """Check what embed returned, and bring it to `(batch, dim)`."""
    found = type(representation).__name__
    if isinstance(representation, Tensor):
        if representation.dim() == 3 and representation.shape[1] == 1:
            representation = representation.squeeze(1)
        if representation.dim() == 2 and representation.is_floating_point():
            return representation
        found = f"{representation.dtype} of shape {tuple(representation.shape)}"
    raise ValueError(
        "Expected embed to return a tensor (batch, dim) or (batch, 1, dim), "
        f"floating point, one vector per utterance, got {found}: change embed, "
        "or pool over the frames."
    )


def check_reference_precision(precision: Any) -> None:
    """Raise a ValueError unless there is such a precision, or None."""
    if precision is not None and precision not in _PRECISIONS:
        raise ValueError(
            f"Expected {', '.join(_PRECISIONS)} or null as precision of the "
            f"reference pass, got {precision!r}: change reference_precision."
        )


def _autocast(
    precision: str | None, inputs: tuple[Any, ...]
) -> AbstractContextManager[Any]:
    check_reference_precision(precision)
    if precision is None:
        return nullcontext()
    tensors = (value for value in inputs if isinstance(value, Tensor))
    device_type = next((value.device.type for value in tensors), "cpu")
    dtype = _PRECISIONS[precision]
    return torch.autocast(
        device_type,
        dtype=None if dtype == torch.float32 else dtype,
        enabled=dtype != torch.float32,
    )


def _modules_of(embed: Callable[..., Tensor]) -> nn.Module:
    if isinstance(embed, nn.Module):
        return embed
    owner = getattr(embed, "__self__", None)
    for candidate in (owner, getattr(owner, "modules", None)):
        if isinstance(candidate, nn.Module):
            return candidate
    raise ValueError(
        "Expected embed to be a module, or a method of a module or of a "
        f"Brain, so that its modules are known, got {embed!r}: pass "
        "modules=self.modules."
    )


@contextmanager
def _evaluating(owner: nn.Module) -> Iterator[None]:
    training = [module for module in owner.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _unwrapped(
    owner: nn.Module, embed: Callable[..., Tensor]
) -> Iterator[Callable[..., Tensor]]:
    """Take wrappers for parallel training off for the time of one call."""
    if isinstance(embed, WRAPPERS):
        yield without_wrapper(embed)
        return
    with ExitStack() as restore:
        if isinstance(owner, nn.ModuleDict):
            for name, module in list(owner.items()):
                if isinstance(module, WRAPPERS):
                    owner[name] = module.module
                    restore.callback(owner.__setitem__, name, module)
        yield embed
