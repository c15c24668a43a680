"""Draw for every utterance that was seen: whom its positive comes from."""

from typing import Any

import torch
from torch import Tensor

from ssps_plugin.memory import PositiveQueue, ReferenceBank
from ssps_plugin.sampling.coverage import Coverage
from ssps_plugin.sampling.strategy import Anchors, SamplingStrategy

# Utterances that are drawn for at once; and out of the queue, which is meant
# for a step.
_CHUNK_ROWS, _STEP_ROWS = 2**14, 2**8


def selects_partners(strategy: SamplingStrategy) -> bool:
    """Whether a strategy draws among all utterances, so that they are read."""
    return strategy.selects_partners and has_own(strategy, "select_partners")


def has_own(strategy: SamplingStrategy, method: str) -> bool:
    """Whether a strategy has a method that the base class only names."""
    return getattr(type(strategy), method) is not getattr(
        SamplingStrategy, method
    )


def draw_partners(
    strategy: SamplingStrategy,
    coverage: Coverage,
    bank: ReferenceBank,
    queue: PositiveQueue,
    seed: int,
    epoch: int,
) -> Tensor:
    """Draw for every utterance that has a reference, and keep what is used.

    Of all utterances, or of the queue where the strategy draws only there: how
    sure its draws are does not depend on the queue.

    Arguments
    ---------
    strategy, coverage : SamplingStrategy, Coverage
        Prepared for the epoch.
    bank, queue : ReferenceBank, PositiveQueue
        The memories.
    seed, epoch : int
        What the draws follow from.

    Returns
    -------
    torch.Tensor
        `(num_utterances,)` int64, -1 for those that keep their own positive.

    Raises
    ------
    ValueError
        A strategy selects what are no utterances.
    """
    seen, references = bank.read_seen()
    partners = seen.new_full((len(bank.seen),), -1)
    draws_all = selects_partners(strategy)
    num_rows = _CHUNK_ROWS if draws_all else _STEP_ROWS
    for index, reference in zip(
        seen.split(num_rows), references.split(num_rows), strict=True
    ):
        anchors = Anchors(index, reference.float(), seed, epoch)
        if draws_all:
            drawn = strategy.select_partners(anchors, bank)
            drawn = _check_partners(strategy, index, drawn, len(bank.seen))
        else:
            rows = strategy.select(anchors, queue)
            drawn = strategy.drawn_utterances(rows, queue)
        is_used = coverage.uses(index, drawn)
        partners[index] = torch.where(is_used, drawn, -1)
    return partners


def _check_partners(
    strategy: SamplingStrategy, index: Tensor, drawn: Any, num_utterances: int
) -> Tensor:
    """Check what a strategy selected, which may be one of a user's own."""
    is_fit = isinstance(drawn, Tensor) and drawn.shape == index.shape
    is_fit = is_fit and not drawn.is_floating_point()
    if not is_fit or bool(((drawn < -1) | (drawn >= num_utterances)).any()):
        got = repr(drawn)
        if isinstance(drawn, Tensor):
            got = f"{drawn.dtype} of shape {tuple(drawn.shape)}"
            if is_fit:
                got += f" from {drawn.min()} to {drawn.max()}"
        raise ValueError(
            f"Expected of select_partners, for {len(index)} anchors, as many "
            f"integers from -1 (none) to {num_utterances - 1}, got {got}: "
            f"change {type(strategy).__name__}."
        )
    drawn = drawn.to(index.device, torch.long)
    return torch.where(drawn == index, -1, drawn)
