"""The epoch's number, where persistent DataLoader workers can see it."""

import torch


class SharedEpoch:
    """An epoch number in shared memory.

    A DataLoader's workers hold copies of the dataset, made when they started:
    with `persistent_workers` a plain attribute stays what it was then. This
    number is the same in all of them. Set it before the loader is iterated
    (`on_stage_start`), since workers read ahead.

    Arguments
    ---------
    epoch : int
        The number to start with; SpeechBrain's epochs count from 1.

    Example
    -------
    >>> epoch = SharedEpoch()
    >>> epoch.set(7)
    >>> epoch.value
    7
    """

    def __init__(self, epoch: int = 1) -> None:
        self._number = torch.tensor([epoch], dtype=torch.int64)
        self._number.share_memory_()

    @property
    def value(self) -> int:
        """The present epoch."""
        return int(self._number)

    def set(self, epoch: int) -> None:
        """Set the epoch, in this process and in every worker.

        Arguments
        ---------
        epoch : int
            The epoch about to start.
        """
        self._number.fill_(epoch)

    def __deepcopy__(self, memo: dict[int, object]) -> "SharedEpoch":
        # SpeechBrain deep-copies a dataset's pipeline when it filters or
        # sorts it: a copied tensor would not be shared any more.
        return self
