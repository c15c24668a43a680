"""Check what a step brings: utterance ids, references and positives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.memory.utterances import UtteranceIndex

logger = get_logger(__name__)

# How far the norm of a reference may be from 1: half precision rounds.
_NORM_TOLERANCE = 0.05


class PositiveLayout:
    """Bring positives to the shape `(num_targets, batch, dim)` and back.

    Where the batch is as large as the number of targets, a shape does not say
    which of the two comes first: targets, it is assumed, with a warning unless
    an earlier batch has shown it.

    Arguments
    ---------
    num_targets : int
        Number of positives per utterance.
    dim : int
        Dimension of a positive.

    Example
    -------
    >>> layout = PositiveLayout(num_targets=1, dim=3)
    >>> positives = torch.zeros(5, 3)
    >>> targets = layout.targets_first(positives, batch_size=5)
    >>> targets.shape, layout.restore(targets, like=positives).shape
    (torch.Size([1, 5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, num_targets: int, dim: int) -> None:
        self.num_targets = num_targets
        self.dim = dim
        self._order_is_known = num_targets == 1

    def targets_first(self, positives: Tensor, batch_size: int) -> Tensor:
        """Bring positives to the shape `(num_targets, batch, dim)`.

        Arguments
        ---------
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`.
        batch_size : int
            Number of utterances.

        Returns
        -------
        torch.Tensor
            A view of `positives`, or `positives` itself, with its gradient.

        Raises
        ------
        ValueError
            `positives` has another shape, or holds integers.
        """
        shape = tuple(positives.shape)
        targets_shape = (self.num_targets, batch_size, self.dim)
        if positives.is_floating_point():
            if shape == targets_shape:
                if not self._order_is_known:
                    self._note_order(batch_size)
                return positives
            if self.num_targets == 1 and shape == (batch_size, self.dim):
                return positives[None]
            if self.num_targets == 1 and shape == (batch_size, 1, self.dim):
                return positives.transpose(0, 1)
        expected = f"{targets_shape} (num_targets, batch, positive_dim)"
        if self.num_targets == 1:
            expected += f", or without num_targets {targets_shape[1:]}"
        way_out = "change positive_dim and num_targets of the PositiveSampler"
        if shape == (batch_size, self.num_targets, self.dim):
            way_out = "pass positives.transpose(0, 1), or " + way_out
        raise ValueError(
            f"Expected positives of shape {expected}, floating point, for "
            f"{batch_size} ids, got {positives.dtype} of shape {shape}: "
            f"{way_out}."
        )

    def _note_order(self, batch_size: int) -> None:
        """Warn, once, where targets first is an assumption."""
        if batch_size == self.num_targets:
            logger.warning(
                "Positives of shape %s, of %d utterances with %d targets each, "
                "are read as (num_targets, batch, positive_dim): positives[0] "
                "holds the first target of every utterance. If the batch comes "
                "first, pass positives.transpose(0, 1).",
                (self.num_targets, batch_size, self.dim),
                batch_size,
                self.num_targets,
            )
        self._order_is_known = True

    def restore(self, targets: Tensor, like: Tensor) -> Tensor:
        """Bring `(num_targets, batch, dim)` back to the shape of `like`."""
        if targets.shape == like.shape:
            return targets
        if like.dim() == 2:
            return targets[0]
        return targets.transpose(0, 1)


@dataclass(frozen=True)
class Step:
    """Utterances, references and positives of one step.

    Arguments
    ---------
    index : torch.Tensor
        `(batch,)` int64, the utterances.
    reference : torch.Tensor
        `(batch, reference_dim)` float32, without gradient.
    positives : torch.Tensor
        `(num_targets, batch, dim)`, any float dtype.
    has_new_references : bool
        Whether references are this step's; else they are the memory's own.
    """

    index: Tensor
    reference: Tensor
    positives: Tensor
    has_new_references: bool = True

    def finite_rows(
        self, reference_dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return which rows hold only finite numbers, `(batch,)` bool.

        References as they are in `reference_dtype`, in which they are kept.
        """
        # A sum with NaN or infinity in it is not finite either.
        rows = self.reference.to(reference_dtype).sum(1, dtype=torch.float32)
        rows = rows + self.positives.sum((0, 2), dtype=torch.float32)
        return rows.isfinite()


def check_step(
    ids: Sequence[Any] | Tensor | None,
    reference: Tensor | None,
    positives: Tensor,
    utterances: UtteranceIndex,
    layout: PositiveLayout,
    reference_dim: int,
    device: torch.device,
    needs_reference: bool = True,
) -> Step:
    """Check what a recipe passes to the sampler, and bring it to one layout.

    Arguments
    ---------
    ids : sequence of str or torch.Tensor
        Ids of the utterances, or their positions `(batch,)`.
    reference : torch.Tensor
        `(batch, reference_dim)` or `(batch, 1, reference_dim)`.
    positives : torch.Tensor
        In one of the shapes that `PositiveLayout.targets_first` takes.
    utterances : UtteranceIndex
        The bound utterances.
    layout : PositiveLayout
        Shape of the positives.
    reference_dim : int
        Dimension of a reference.
    device : torch.device
        Device of the memories.
    needs_reference : bool
        False takes zeros in place of references that are None.

    Returns
    -------
    Step
        Its references carry no gradient; its positives keep theirs.

    Raises
    ------
    ValueError
        Something is missing, or has another shape or device.
    """
    index = utterances.positions(ids, device)
    if not len(index):
        raise ValueError(
            "Expected at least one utterance in a step, got an empty batch: "
            "leave it out, or change the batch sampler."
        )
    if reference is None and not needs_reference:
        reference = torch.zeros(len(index), reference_dim, device=device)
    if reference is None:
        raise ValueError(
            "Expected reference representations from the epoch before "
            "start_epoch on, got None: pass "
            "reference=reference_representation(embed, ...) to the "
            "PositiveSampler where needs_reference is True."
        )
    for name, value in (("reference", reference), ("positives", positives)):
        if not isinstance(value, Tensor):
            raise ValueError(
                f"Expected {name} as a torch.Tensor, got "
                f"{type(value).__name__}: change what is passed to the "
                "PositiveSampler."
            )
    expected = (len(index), reference_dim)
    if reference.shape == (len(index), 1, reference_dim):
        reference = reference.squeeze(1)
    if reference.shape != expected or not reference.is_floating_point():
        way_out = "change reference_dim of the PositiveSampler"
        if reference.shape[-1:] == expected[1:]:
            way_out = "embed one segment for each id, or " + way_out
        raise ValueError(
            f"Expected reference of shape {expected} (batch, "
            f"reference_dim), floating point, got {reference.dtype} of shape "
            f"{tuple(reference.shape)}: {way_out}."
        )
    targets = layout.targets_first(positives, len(index))
    for name, tensor in (("reference", reference), ("positives", targets)):
        if tensor.device != device:
            raise ValueError(
                f"Expected {name} on {device}, where the memories are, got "
                f"{name} on {tensor.device}: put the sampler into "
                "Brain.modules, or move it with sampler.to(device)."
            )
    return Step(index, reference.detach().float(), targets)


def warn_of_norms(reference: Tensor) -> None:
    """Warn where references are not L2-normalised, or none is finite."""
    norms = reference.norm(dim=1)
    norms = norms[norms.isfinite()]
    if not len(norms):
        logger.warning(
            "None of the first %d references is finite (NaN or infinity): look "
            "at what reference_representation(embed, ...) embeds.",
            len(reference),
        )
    elif bool(((norms - 1).abs() > _NORM_TOLERANCE).any()):
        logger.warning(
            "Expected L2-normalised references, got norms from %.3g to %.3g, "
            "by which utterances are not compared by cosine: pass what "
            "reference_representation(embed, ...) returns.",
            float(norms.min()),
            float(norms.max()),
        )
