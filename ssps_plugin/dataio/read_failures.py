"""Count files that cannot be read, in memory that workers share."""

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from ssps_plugin.distributed import gather_rows

# Not SpeechBrain's, which is silent on all ranks but the first: each rank, and
# each of its workers, reads other files.
logger = logging.getLogger(__name__)

# So few lost files are no reason to stop, however small the corpus.
_FEW = 5
# Files that an error names.
_NUM_SHOWN = 5


class TooManyUnreadableError(RuntimeError):
    """More files than `max_unreadable` allows cannot be read."""


@register_checkpoint_hooks
class ReadFailures:
    """Which files of a corpus could not be read, and in which epoch last.

    The numbers lie in memory that is shared with a DataLoader's workers, also
    with persistent ones: an epoch for each file, which each worker writes for
    the files that it reads, so that no lock is needed.

    It can be added to a checkpointer: after a resume inside an epoch the
    epoch's files are counted as if it had not been interrupted.

    Arguments
    ---------
    files : sequence of str
        The corpus's files.
    max_unreadable : float
        The fraction of the files, from 0 to 1, that may fail in an epoch
        before the run is stopped; a handful (5) always may, unless it is 0.
    label : str
        What the files are, for the error.

    Raises
    ------
    ValueError
        `max_unreadable` is not from 0 to 1.

    Example
    -------
    >>> failures = ReadFailures(["a.wav", "b.wav"])
    >>> failures.record(1, 3, "b.wav: there is no such file")
    >>> failures.count(epoch=3), failures.files(epoch=3)
    (1, ['b.wav'])
    """

    def __init__(
        self,
        files: Sequence[str],
        max_unreadable: float = 0.01,
        label: str = "training files",
    ) -> None:
        if not 0.0 <= max_unreadable <= 1.0:
            raise ValueError(
                f"Expected a fraction from 0 to 1, got {max_unreadable}: "
                "change max_unreadable"
            )
        self.max_unreadable = max_unreadable
        self.limit = int(max_unreadable * len(files))
        if max_unreadable > 0:
            self.limit = max(self.limit, _FEW)
        self.label = label
        self._files = files
        # 0: never lost.
        self._epoch_of = torch.zeros(len(files), dtype=torch.int32)
        self._epoch_of.share_memory_()
        # To be asked for every item, so not by looking at all of them.
        self._any_lost = torch.zeros(1, dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        """Return the number of files, lost or not."""
        return len(self._files)

    @property
    def any_lost(self) -> bool:
        """Whether any file was ever lost."""
        return bool(self._any_lost)

    def record(self, index: int, epoch: int, reason: object) -> None:
        """Count a file that could not be read, and name it the first time.

        Arguments
        ---------
        index : int
            The file's place in `files`.
        epoch : int
            The epoch, from 1.
        reason : object
            What went wrong, with the file's name.

        Raises
        ------
        TooManyUnreadableError
            With it there are more than the limit.
        """
        before = int(self._epoch_of[index])
        if before == epoch:
            return
        self._set(index, epoch)
        if not before:
            logger.warning("%s. Another one is used instead", reason)
        self.check(epoch)

    def check(self, epoch: int) -> None:
        """Raise if more files of an epoch are lost than the limit.

        Arguments
        ---------
        epoch : int
            The epoch, from 1.

        Raises
        ------
        TooManyUnreadableError
            There are.
        """
        num_lost = self.count(epoch)
        if num_lost <= self.limit:
            return
        shown = ", ".join(self.files(epoch)[:_NUM_SHOWN])
        more = ", …" if num_lost > _NUM_SHOWN else ""
        raise TooManyUnreadableError(
            f"Expected at most {self.limit} of {len(self)} {self.label} that "
            f"cannot be read (max_unreadable {self.max_unreadable:g}), got "
            f"{num_lost} in epoch {epoch}: {shown}{more}. Repair the file "
            "system or the files, then start again to go on; or change "
            "max_unreadable"
        )

    def count(self, epoch: int) -> int:
        """Return how many different files were lost in an epoch."""
        return int((self._epoch_of == epoch).sum())

    def files(self, epoch: int) -> list[str]:
        """Return the files that were lost in an epoch, in their order."""
        lost = (self._epoch_of == epoch).nonzero().flatten().tolist()
        return [self._files[index] for index in lost]

    def was_lost(self, index: int) -> bool:
        """Whether a file was lost in this epoch or an earlier one."""
        return bool(self._epoch_of[index])

    def join_ranks(self, device: torch.device | str = "cpu") -> None:
        """Make all ranks know what any of them lost: call it on every rank.

        Each rank counts by itself, and a checkpoint holds what the main one
        knows: join them before a checkpoint, and before the count is logged.

        Arguments
        ---------
        device : torch.device or str
            The device that ranks communicate by.
        """
        index = self._epoch_of.nonzero().flatten()
        rows = torch.stack([index.int(), self._epoch_of[index]], dim=1)
        (joined,) = gather_rows(rows.to(device))
        # In this order the latest epoch of a file is written last.
        for place, epoch in sorted(joined.tolist(), key=lambda row: row[1]):
            self._set(place, epoch)

    @mark_as_saver
    def save(self, path: str) -> None:
        """Write the lost files and their epochs, as JSON."""
        lost = self._epoch_of.nonzero().flatten().tolist()
        epochs = {self._files[i]: int(self._epoch_of[i]) for i in lost}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(epochs, file)
            file.flush()
            os.fsync(file.fileno())

    @mark_as_loader
    def load(self, path: str, end_of_epoch: bool = False) -> None:
        """Read what `save` wrote; files that are not listed are passed over."""
        with open(path, encoding="utf-8") as file:
            epochs: dict[str, int] = json.load(file)
        if epochs:
            for index, name in enumerate(self._files):
                if name in epochs:
                    self._set(index, epochs[name])

    def _set(self, index: int, epoch: int) -> None:
        self._epoch_of[index] = epoch
        self._any_lost.fill_(True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "ReadFailures":
        # SpeechBrain deep-copies a dataset's pipeline when it filters or
        # sorts it: a copied tensor would not be shared any more.
        return self
