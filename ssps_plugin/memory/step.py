"""Check what a step brings: utterance ids, references and positives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class UtteranceIndex:
    """Map the ids of the training utterances to their positions.

    Its fingerprint differs from one training set to another.

    Arguments
    ---------
    ids : sequence of str
        Ids of the training utterances in their order, each once.

    Raises
    ------
    ValueError
        There is no id, or one comes twice.

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
                "Expected the utterance ids of the training set, got none: "
                "the training set is empty, so change what is given to bind()."
            )
        if len(self._positions) != len(ids):
            raise ValueError(
                f"Expected every utterance id once, got {len(ids)} ids of "
                f"which {len(self._positions)} are distinct: change the ids "
                "given to bind()."
            )
        # Each length first, so that no two lists of ids give the same bytes.
        digest = hashlib.sha256()
        for name in ids:
            encoded = str(name).encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        #: SHA-256 of the ids in their order.
        self.fingerprint = digest.digest()

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._positions)

    def positions(
        self, ids: Sequence[str] | Tensor | None, device: torch.device
    ) -> Tensor:
        """Return the positions of a batch of utterances.

        Arguments
        ---------
        ids : sequence of str or torch.Tensor
            Ids, or positions `(batch,)` of an integer dtype. The range of
            positions on a GPU is not checked: that would wait for the device.
        device : torch.device
            Device of the result.

        Returns
        -------
        torch.Tensor
            `(batch,)` int64 on `device`.

        Raises
        ------
        ValueError
            There are no ids, an id was never bound, or a position is out of
            range.
        """
        if ids is None:
            raise ValueError(
                "Expected the utterance ids of the batch in training, got "
                "None: pass ids=batch.id to the PositiveSampler."
            )
        if isinstance(ids, Tensor):
            self._check_positions(ids)
            return ids.to(device, torch.long, non_blocking=True)
        try:
            positions = [self._positions[name] for name in ids]
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"Expected one of the {len(self)} utterance ids given to "
                f"bind(), such as {next(iter(self._positions))!r}, got "
                f"{error.args[0]!r}, which was never bound: bind the set that "
                "you train on."
            ) from error
        return torch.tensor(positions, dtype=torch.long).to(
            device, non_blocking=True
        )

    def _check_positions(self, positions: Tensor) -> None:
        if positions.dim() != 1 or positions.is_floating_point():
            raise ValueError(
                "Expected ids as a tensor of integer positions of shape "
                f"(batch,), got {positions.dtype} of shape "
                f"{tuple(positions.shape)}: pass ids=batch.id."
            )
        if positions.device.type != "cpu" or not len(positions):
            return
        lowest, highest = (int(bound) for bound in positions.aminmax())
        if lowest < 0 or highest >= len(self):
            raise ValueError(
                f"Expected positions in [0, {len(self)}), those of the "
                "utterances given to bind(), got "
                f"{lowest if lowest < 0 else highest}, which was never bound: "
                "bind the set that you train on."
            )


class PositiveLayout:
    """Bring positives to the shape `(num_targets, batch, dim)` and back.

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
            f"{batch_size} ids, got {positives.dtype} of shape {shape}: change "
            "positive_dim and num_targets of the PositiveSampler."
        )

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
    """

    index: Tensor
    reference: Tensor
    positives: Tensor

    def finite_rows(self) -> Tensor:
        """Return which rows hold only finite numbers, `(batch,)` bool."""
        # A sum with NaN or infinity in it is not finite either.
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
    if reference is None:
        raise ValueError(
            "Expected reference representations from the epoch before "
            "start_epoch on, got None: pass "
            "reference=reference_representation(embed, ...) to the "
            "PositiveSampler."
        )
    expected = (len(index), reference_dim)
    if reference.shape == (len(index), 1, reference_dim):
        reference = reference.squeeze(1)
    if reference.shape != expected:
        raise ValueError(
            f"Expected reference of shape {expected} (batch, "
            f"reference_dim), got {tuple(reference.shape)}: change "
            "reference_dim of the PositiveSampler."
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
