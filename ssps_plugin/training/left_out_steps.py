"""Steps that are left out, since a loss or a gradient is not finite."""

from collections.abc import Sequence
from typing import Any

from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)


class LeftOutSteps:
    """Report steps that are left out, and end the run after too many of them.

    They are counted over epochs, until an epoch's worth of good steps has
    passed without one.

    Arguments
    ---------
    patience : int
        How many may be left out.

    Example
    -------
    >>> left_out = LeftOutSteps(patience=1)
    >>> left_out.add("loss", step=3, epoch=2, ids=["a", "b"])
    >>> left_out.state()
    {'num_left_out': 1, 'good_batches': 0}
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self._num = 0
        self._num_good = 0

    def add(self, what: str, step: int, epoch: int, ids: Sequence[str]) -> None:
        """Report a step whose loss or gradient (`what`) is not finite.

        Raises
        ------
        ValueError
            They are more than `patience`.
        """
        self._num += 1
        self._num_good = 0
        message = (
            f"The {what} of step {step} of epoch {epoch} is not finite. Its "
            f"utterances: {', '.join(ids)}"
        )
        if self._num > self.patience:
            raise ValueError(
                "Expected finite losses and gradients, got "
                f"{self._num} that are not. {message}. The last "
                "checkpoint is as it was before: lower the learning rate or, "
                "if it happens with --precision alone, train in fp32 "
                "(nonfinite_patience is how many are left out)."
            )
        logger.warning(
            "%s. The step is left out, and nothing of it is kept.", message
        )

    def note_good_step(self, steps_per_epoch: int) -> None:
        """Note a step that counts; after an epoch's worth, all is forgiven."""
        self._num_good += 1
        if self._num_good >= steps_per_epoch:
            self._num = 0

    def state(self) -> dict[str, int]:
        """Return what a checkpoint keeps."""
        return {"num_left_out": self._num, "good_batches": self._num_good}

    def take_up(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._num = saved.get("num_left_out", 0)
        self._num_good = saved.get("good_batches", 0)
