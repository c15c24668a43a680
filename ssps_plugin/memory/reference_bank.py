"""The reference memory: the latest reference of every utterance."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.memory.rows import Repeats, resolve_repeats

# References whose mean cosine is above this are those of a collapsed encoder.
_ALIKE = 0.98
# References from which their mean cosine is estimated.
_SAMPLE_SIZE = 2**14


class ReferenceBank(nn.Module):
    """Keep the latest reference of every training utterance in a table.

    The table is indexed by utterance, so it holds no duplicates and the order
    of writing does not matter. An utterance is unseen until its reference is
    written; until then it is never clustered or drawn.

    Arguments
    ---------
    dim : int
        Dimension of a reference representation.
    dtype : torch.dtype
        Dtype of the table; `torch.float16` takes half the memory.

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

    # There is one scratch row more than there are utterances. It takes the
    # writes that must not stay: a mask would make a GPU wait for the host.
    _table: Tensor
    _seen: Tensor

    def __init__(self, dim: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("_table", torch.empty(1, dim, dtype=dtype))
        self.register_buffer("_seen", torch.zeros(1, dtype=torch.bool))

    @property
    def references(self) -> Tensor:
        """References, `(num_utterances, dim)`, zero where unseen."""
        return self._table[:-1]

    @property
    def seen(self) -> Tensor:
        """Which utterances have a reference, `(num_utterances,)` bool."""
        return self._seen[:-1]

    def allocate(self, num_utterances: int) -> None:
        """Empty the bank and prepare it for `num_utterances` utterances."""
        self._table = self._table.new_zeros(num_utterances + 1, self.dim)
        self._seen = self._seen.new_zeros(num_utterances + 1)

    def write(
        self,
        index: Tensor,
        references: Tensor,
        valid: Tensor | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        """Write references over those of the same utterances.

        Arguments
        ---------
        index : torch.Tensor
            `(batch,)` int64, the utterances. Where one comes several times,
            its last row wins.
        references : torch.Tensor
            `(batch, dim)`, any float dtype.
        valid : torch.Tensor, optional
            `(batch,)` bool, by default all rows. A row that is not valid
            changes nothing.
        repeats : Repeats, optional
            `resolve_repeats(index)`, if the caller has it already.
        """
        stays = (repeats or resolve_repeats(index)).is_last
        if valid is not None:
            stays = stays & valid
        scratch = len(self._seen) - 1
        row = torch.where(stays, index, scratch)
        self._table.index_copy_(0, row, references.to(self._table.dtype))
        self._seen.index_fill_(0, row, True)

    def are_alike(self) -> bool:
        """Whether the references of all utterances are nearly the same."""
        return self.mean_cosine() > _ALIKE

    def mean_cosine(self) -> float:
        """Return the mean cosine between references of two utterances.

        Near 1 they are all alike, as a collapsed encoder makes them. It is
        estimated from some thousands; 0 if fewer than two are seen.
        """
        index = self.seen.nonzero().flatten()
        index = index[:: -(-len(index) // _SAMPLE_SIZE) or 1]
        if len(index) < 2:
            return 0.0
        rows = F.normalize(self.references[index].float(), dim=1)
        # Zeros have no direction, but are alike.
        empty = (rows.norm(dim=1) == 0).float()[:, None]
        total = torch.cat([rows, empty], 1).sum(0, dtype=torch.float64)
        # The squared norm of the sum, without the pairs of one with itself.
        num = len(index)
        return (float(total @ total) - num) / (num * (num - 1))

    def read_seen(self) -> tuple[Tensor, Tensor]:
        """Return the utterances seen so far and their references.

        Returns
        -------
        index : torch.Tensor
            `(num_seen,)` int64, the utterances, ascending.
        references : torch.Tensor
            `(num_seen, dim)` in the bank's dtype; a view of the table if every
            utterance was seen, to save the copy.
        """
        index = self.seen.nonzero().flatten()
        if index.numel() == self.seen.numel():
            return index, self.references
        return index, self.references[index]
