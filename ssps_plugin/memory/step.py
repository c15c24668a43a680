"""What a step brings, checked: utterances, references and positives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class UtteranceIndex:
    """Maps utterance ids to positions, and tells training sets apart.

    Arguments
    ---------
    ids : sequence of str
        Ids of the training utterances, in order; each once.

    Raises
    ------
    ValueError
        No id, or one that comes twice.

    Example
    -------
    >>> utterances = UtteranceIndex(["a", "b", "c"])
    >>> utterances.positions(["c", "a"], torch.device("cpu")).tolist()
    [2, 0]
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._positions = {name: place for place, name in enumerate(ids)}
        if not self._positions:
            raise ValueError(
                "bind expects the utterance ids of the training set, got "
                "none: the training set is empty."
            )
        if len(self._positions) != len(ids):
            raise ValueError(
                "bind expects every utterance id once, got "
                f"{len(ids)} ids of which {len(self._positions)} are distinct."
            )
        # Length first, so that no two lists of ids give the same bytes.
        digest = hashlib.sha256()
        for name in ids:
            encoded = str(name).encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        #: SHA-256 of the ids in their order.
        self.fingerprint = digest.digest()

    def __len__(self) -> int:
        return len(self._positions)

    def positions(
        self, ids: Sequence[str] | Tensor | None, device: torch.device
    ) -> Tensor:
        """Return the positions of a batch, `(batch,)` int64 on `device`.

        Arguments
        ---------
        ids : sequence of str or torch.Tensor
            Ids, or positions `(batch,)` of an integer dtype. Positions on a
            GPU are not range-checked here: that would wait for the device.
        device : torch.device
            Where to put them.

        Raises
        ------
        ValueError
            No ids, an id that was never bound, a position out of range.
        """
        if ids is None:
            raise ValueError(
                "PositiveSampler needs the utterance ids of the batch in "
                "training: pass ids=batch.id."
            )
        if isinstance(ids, Tensor):
            checked = self._checked(ids)
            return checked.to(device, torch.long, non_blocking=True)
        try:
            positions = [self._positions[name] for name in ids]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"Utterance id {error.args[0]!r} was never bound. Expected an "
                f"id of the {len(self)} utterances given to bind(), such as "
                f"{next(iter(self._positions))!r}: bind the set you train on."
            ) from error
        return torch.tensor(positions, dtype=torch.long).to(
            device, non_blocking=True
        )

    def _checked(self, positions: Tensor) -> Tensor:
        if positions.dim() != 1 or positions.is_floating_point():
            raise ValueError(
                "ids as a tensor must be integer positions of shape (batch,), "
                f"got {positions.dtype} of shape {tuple(positions.shape)}."
            )
        if positions.device.type == "cpu" and len(positions):
            lowest, highest = positions.aminmax()
            low, high = int(lowest), int(highest)
            if low < 0 or high >= len(self):
                raise ValueError(
                    f"Positions must lie in [0, {len(self)}), the utterances "
                    f"given to bind(); got one at {low if low < 0 else high}, "
                    "which was never bound."
                )
        return positions


class PositiveLayout:
    """Brings positives to `(num_targets, batch, dim)` and back.

    Arguments
    ---------
    num_targets : int
        Positives per utterance.
    dim : int
        Dimension of a positive.
    """

    def __init__(self, num_targets: int, dim: int) -> None:
        self.num_targets = num_targets
        self.dim = dim

    def targets_first(self, positives: Tensor, batch_size: int) -> Tensor:
        """Return positives as `(num_targets, batch, dim)`.

        Arguments
        ---------
        positives : torch.Tensor
            `(batch, dim)`, `(batch, 1, dim)` or `(num_targets, batch, dim)`.
        batch_size : int
            Number of utterances.

        Raises
        ------
        ValueError
            Another shape or dimension, or integers.
        """
        shape = tuple(positives.shape)
        targets_shape = (self.num_targets, batch_size, self.dim)
        if positives.is_floating_point():
            if shape == targets_shape:
                return positives
            if self.num_targets == 1 and shape == (batch_size, self.dim):
                return positives[None]
            if self.num_targets == 1 and shape == (batch_size, 1, self.dim):
                return positives.transpose(0, 1)
        expected = f"{targets_shape} (num_targets, batch, positive_dim)"
        if self.num_targets == 1:
            expected += f", or without num_targets {targets_shape[1:]}"
        raise ValueError(
            f"Expected positives of shape {expected}, floating point, for "
            f"{batch_size} ids; got {positives.dtype} of shape {shape}. Check "
            "positive_dim and num_targets of the PositiveSampler."
        )

    def restore(self, targets: Tensor, like: Tensor) -> Tensor:
        """Return `(num_targets, batch, dim)` in the shape of `like`."""
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
    """

    index: Tensor
    reference: Tensor
    positives: Tensor

    def finite_rows(self) -> Tensor:
        """Return which utterances have only finite numbers, `(batch,)` bool."""
        # NaN and infinity stay in a sum.
        rows = self.reference.sum(1)
        rows = rows + self.positives.sum((0, 2), dtype=torch.float32)
        return rows.isfinite()


def check_step(
    ids: Sequence[str] | Tensor | None,
    reference: Tensor | None,
    positives: Tensor,
    utterances: UtteranceIndex,
    layout: PositiveLayout,
    reference_dim: int,
    device: torch.device,
) -> Step:
    """Check what a recipe passes, and bring it into one layout.

    Arguments
    ---------
    ids, reference, positives
        As `PositiveSampler` takes them.
    utterances : UtteranceIndex
        The bound utterances.
    layout : PositiveLayout
        Shapes of positives.
    reference_dim : int
        Dimension of a reference.
    device : torch.device
        Where the memories are.

    Returns
    -------
    Step
        Without gradient in the references; positives keep theirs.

    Raises
    ------
    ValueError
        Something is missing, or of another shape or device.
    """
    index = utterances.positions(ids, device)
    if reference is None:
        raise ValueError(
            "PositiveSampler needs reference representations from the "
            "epoch before start_epoch on: pass "
            "reference=reference_representation(embed, ...)."
        )
    expected = (len(index), reference_dim)
    if reference.shape == (len(index), 1, reference_dim):
        reference = reference.squeeze(1)
    if reference.shape != expected:
        raise ValueError(
            f"Expected reference of shape {expected} (batch, "
            f"reference_dim), got {tuple(reference.shape)}. Check "
            "reference_dim of the PositiveSampler."
        )
    targets = layout.targets_first(positives, len(index))
    for name, tensor in (("reference", reference), ("positives", targets)):
        if tensor.device != device:
            raise ValueError(
                f"{name} is on {tensor.device}, the memories are on "
                f"{device}. Put the sampler into Brain.modules, or move "
                "it with sampler.to(device)."
            )
    return Step(index, reference.detach().float(), targets)
