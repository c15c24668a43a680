"""Whether a training is sound: finite, not collapsed, not diverged."""

from collections.abc import Mapping

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn
from torch.nn import functional as F

logger = get_logger(__name__)

_NUM_SHOWN_ENTRIES = 3
# Above this mean cosine of a step's anchors, an encoder tells nobody apart.
_COLLAPSED_COSINE = 0.98
# Weights that have grown by more than this since the start have diverged:
# training at a learning rate that works makes them a few times as large.
_MOST_GROWTH = 100.0


def check_finite(modules: Mapping[str, nn.Module], epoch: int) -> None:
    """Check that a state is finite, before it is saved.

    Arguments
    ---------
    modules : mapping of str to torch.nn.Module
        What is checked, by name.
    epoch : int
        For the message.

    Raises
    ------
    RuntimeError
        It is not.
    """
    tensors = {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
        if value.is_floating_point() and value.numel()
    }
    if not tensors:
        return
    # One number for each, so that a GPU is waited for once. An infinite norm
    # of finite numbers cannot be: it is the largest of them.
    largest = torch.stack(
        [value.detach().abs().max().double() for value in tensors.values()]
    )
    is_broken = (~largest.isfinite()).tolist()
    broken = [n for n, bad in zip(tensors, is_broken, strict=True) if bad]
    if broken:
        shown = ", ".join(broken[:_NUM_SHOWN_ENTRIES])
        more = ", …" if len(broken) > _NUM_SHOWN_ENTRIES else ""
        raise RuntimeError(
            f"Expected a finite state to save in epoch {epoch}, got NaN or "
            f"infinity in {len(broken)} of {len(tensors)} entries ({shown}"
            f"{more}). The last checkpoint is kept as it is: lower the "
            "learning rate, or look for what the log says about steps left "
            "out, and go on from there."
        )


def warn_of_collapse(anchors: Tensor, epoch: int) -> None:
    """Warn where the anchors of different utterances are all alike.

    Arguments
    ---------
    anchors : torch.Tensor
        `(batch, dim)` or `(views, batch, dim)`, of a step.
    epoch : int
        For the message.
    """
    anchors = F.normalize(anchors.float(), dim=-1)
    num = anchors.shape[-2]
    if num < 2:
        return
    # The mean over pairs of different anchors, view by view.
    total = anchors.sum(-2).square().sum(-1)
    cosine = float(((total - num) / (num * (num - 1))).mean())
    if cosine > _COLLAPSED_COSINE:
        logger.warning(
            "The model has collapsed, or is about to: after epoch %d the "
            "mean cosine between the anchors of different utterances is "
            "%.3f (1 is all alike). Try a lower learning rate (lr), a "
            "larger global_batch_size, or a later start of SSPS; look for "
            "utterances that are all the same audio.",
            epoch,
            cosine,
        )


def weight_norm(module: nn.Module) -> float:
    """Return the norm of all weights of a module."""
    weights = [weight.detach() for weight in module.parameters()]
    return float(torch.stack(torch._foreach_norm(weights)).norm())


def warn_of_divergence(
    module: nn.Module, first_norm: float, epoch: int, learning_rate: float
) -> None:
    """Warn where the weights have grown out of all proportion.

    Arguments
    ---------
    module : torch.nn.Module
        What is trained.
    first_norm : float
        The norm of its weights at the start; 0 where it is not known, and
        nothing is warned of.
    epoch : int
    learning_rate : float
        For the message.
    """
    growth = weight_norm(module) / max(first_norm, 1e-12)
    if growth > _MOST_GROWTH and first_norm:
        logger.warning(
            "The weights have diverged: after epoch %d they are %.0f times "
            "as large as at the start. Nothing can be learnt like this: "
            "start again in another output_folder with a lower learning "
            "rate (lr, now %g).",
            epoch,
            growth,
            learning_rate,
        )
