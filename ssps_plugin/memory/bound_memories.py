"""The memories of one training set, and the epoch they are in."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssps_plugin.memory.epoch_counts import EpochCounts
from ssps_plugin.memory.positive_layout import PositiveLayout
from ssps_plugin.memory.positive_queue import PositiveQueue
from ssps_plugin.memory.reference_bank import ReferenceBank
from ssps_plugin.memory.step import Step
from ssps_plugin.memory.step_check import StepCheck
from ssps_plugin.memory.utterance_index import UtteranceIndex


class BoundMemories(nn.Module):
    """References, positives and counts, bound to a set of utterances.

    What a `PositiveSampler` has beside its strategy: it sizes the memories by
    the training set, checks what is written to them, and refuses a state that
    was saved for other utterances.

    Arguments
    ---------
    queue_size : int
        Slots of the positive queue.
    reference_dim : int
        Dimension of the reference representations.
    positive_dim : int
        Dimension of the positives.
    num_targets : int
        Positives per utterance.
    reference_dtype : str
        Of the reference memory: "float32", "float16" or "bfloat16".

    Example
    -------
    >>> memories = BoundMemories(4, 2, 1, 1, "float32")
    >>> memories.bind(["a", "b"])
    >>> memories.bank.references.tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def __init__(
        self,
        queue_size: int,
        reference_dim: int,
        positive_dim: int,
        num_targets: int,
        reference_dtype: str,
    ) -> None:
        super().__init__()
        for name, value in (
            ("queue_size", queue_size),
            ("reference_dim", reference_dim),
            ("positive_dim", positive_dim),
            ("num_targets", num_targets),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if reference_dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(
                "reference_dtype must be float32, float16 or bfloat16, got "
                f"{reference_dtype!r}."
            )
        self.layout = PositiveLayout(num_targets, positive_dim)
        self.bank = ReferenceBank(
            reference_dim, getattr(torch, reference_dtype)
        )
        self.queue = PositiveQueue(queue_size, positive_dim, num_targets)
        self.counts = EpochCounts()
        self.utterances: UtteranceIndex | None = None
        self.epoch: int | None = None

    @property
    def device(self) -> torch.device:
        """Where the memories are."""
        return self.counts.values.device

    def bind(self, dataset: Any) -> None:
        """Size the memories by the utterances of the training set.

        Touches no pipeline. Binding the same utterances again does nothing.

        Arguments
        ---------
        dataset : DynamicItemDataset or sequence of str
            The training set, or the ids of its utterances in order.

        Raises
        ------
        ValueError
            No utterance, an id twice, or a strategy that does not fit.
        RuntimeError
            Already in use with other utterances.
        """
        ids: Sequence[str] = getattr(dataset, "data_ids", dataset)
        utterances = UtteranceIndex(ids)
        if self.utterances is not None:
            if utterances.fingerprint == self.utterances.fingerprint:
                return
            if self.epoch is not None:
                raise RuntimeError(
                    "PositiveSampler is in use with other utterances "
                    f"({len(self.utterances)}, now {len(utterances)}). Call "
                    "reset() first: it forgets what was remembered."
                )
        self.utterances = utterances
        self._check = StepCheck(utterances, self.layout, self.bank.dim)
        self._allocate()

    def reset(self) -> None:
        """Forget everything but the bound utterances, for another fit."""
        self.epoch = None
        if self.utterances is not None:
            self._allocate()

    def _allocate(self) -> None:
        num_utterances = len(self._bound())
        device = self.device
        self.bank.allocate(num_utterances)
        self.queue.allocate(num_utterances)
        self.counts.reset()
        self.to(device)

    def _bound(self) -> UtteranceIndex:
        if self.utterances is None:
            raise RuntimeError(
                "PositiveSampler was never bound: call "
                "sampler.bind(train_data) before training or recovering a "
                "checkpoint."
            )
        return self.utterances

    def _checked(
        self,
        ids: Sequence[str] | Tensor | None,
        reference: Tensor | None,
        positives: Tensor,
    ) -> Step:
        return self._check(ids, reference, positives, self.device)

    def _check_fits_queue(self, num_rows: int) -> None:
        if num_rows > self.queue.size:
            raise ValueError(
                f"A step brings {num_rows} utterances (over all ranks), "
                f"but queue_size is {self.queue.size}. Set queue_size to at "
                "least the global batch size."
            )

    def figures(self) -> dict[str, float]:
        """Figures of the epoch so far, to log; waits for the device.

        Returns
        -------
        dict of str to float
            coverage: share of anchors with a pseudo-positive. queue_fill:
            share of slots in use. seen: share of utterances with a reference.
            not_remembered: rows that were not finite.
        """
        return {
            **self.counts.figures(),
            "queue_fill": float(self.queue.num_filled()) / self.queue.size,
            "seen": float(self.bank.seen.float().mean()),
        }

    def get_extra_state(self) -> dict[str, Any]:
        """Return the epoch and which utterances the memories are about."""
        bound = self.utterances
        return {
            "epoch": self.epoch,
            "fingerprint": bound.fingerprint if bound else None,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up a saved epoch; refuses memories of other utterances."""
        fingerprint = state["fingerprint"]
        if fingerprint not in (None, self._bound().fingerprint):
            raise RuntimeError(
                "This checkpoint was written for another training manifest: "
                "its memories belong to other utterances than the "
                f"{len(self._bound())} now bound. Resume with the manifest it "
                "was trained on, or start in another output_folder."
            )
        self.epoch = state["epoch"]
