"""The reference memory: the latest reference representation per utterance."""

import torch
from torch import Tensor, nn

from ssps_plugin.memory.rows import Repeats, resolve_repeats


class ReferenceBank(nn.Module):
    """Table of the last reference of every training utterance.

    Indexed by utterance, so there are no duplicates and the order of writing
    does not matter. An utterance that was never written is marked unseen and
    is never clustered or drawn.

    Arguments
    ---------
    dim : int
        Dimension of a reference representation.
    dtype : torch.dtype
        How references are kept; `torch.float16` halves the memory.

    Source: the reference memory of SSPS, Lepage and Dehak, Interspeech 2025
    (arXiv 2505.14561).

    Example
    -------
    >>> bank = ReferenceBank(dim=2)
    >>> bank.allocate(3)
    >>> bank.write(torch.tensor([2]), torch.tensor([[0.6, 0.8]]))
    >>> bank.seen.tolist()
    [False, False, True]
    """

    # One scratch row more than there are utterances takes the writes that are
    # not meant to stay: a mask would make a GPU wait for the host.
    _table: Tensor
    _seen: Tensor

    def __init__(self, dim: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("_table", torch.empty(1, dim, dtype=dtype))
        self.register_buffer("_seen", torch.zeros(1, dtype=torch.bool))

    @property
    def references(self) -> Tensor:
        """References `(num_utterances, dim)`, zero where unseen."""
        return self._table[:-1]

    @property
    def seen(self) -> Tensor:
        """Which utterances have a reference, `(num_utterances,)` bool."""
        return self._seen[:-1]

    def allocate(self, num_utterances: int) -> None:
        """Make room for `num_utterances` references, all unseen."""
        self._table = self._table.new_zeros(num_utterances + 1, self.dim)
        self._seen = self._seen.new_zeros(num_utterances + 1)

    def write(
        self,
        index: Tensor,
        references: Tensor,
        valid: Tensor | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        """Remember references; rows that are not valid change nothing.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the utterances. Where one repeats, its last row
            wins.
        references : torch.Tensor
            `(batch, dim)`, any float dtype.
        valid : torch.Tensor, optional
            `(batch,)` bool; all rows when left out.
        repeats : Repeats, optional
            `resolve_repeats(index)` where the caller has it already.
        """
        stays = (repeats or resolve_repeats(index)).is_last
        if valid is not None:
            stays = stays & valid
        scratch = len(self._seen) - 1
        row = torch.where(stays, index, scratch)
        self._table.index_copy_(0, row, references.to(self._table.dtype))
        self._seen.index_fill_(0, row, True)

    def read_seen(self) -> tuple[Tensor, Tensor]:
        """Return what has been remembered so far.

        Returns
        -------
        tuple of torch.Tensor
            Utterance indices `(seen,)` int64, ascending, and their references
            `(seen, dim)` in the bank's dtype; the bank itself, not a copy,
            when every utterance was seen.
        """
        index = self.seen.nonzero().flatten()
        if index.numel() == self.seen.numel():
            return index, self.references
        return index, self.references[index]
