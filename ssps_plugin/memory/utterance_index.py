"""Utterance ids and their positions in the training set."""

import hashlib
from collections.abc import Sequence

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
        self.fingerprint = digest.hexdigest()

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
