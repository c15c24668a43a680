"""References of several epochs as one: their cosines are averaged. Ours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import check_whole_number


class JoinedReferences(nn.Module):
    """Join each utterance's references of the last epochs.

    The cosine of two joined references is the mean of the epochs' cosines: of
    other crops and other weights, so that what is near by chance weighs less.

    Tables are kept in half precision, two bytes a number.

    Arguments
    ---------
    num_epochs : int
        How many epochs are joined, at least 2.

    Raises
    ------
    ValueError
        They are fewer.

    Example
    -------
    >>> joined = JoinedReferences(num_epochs=2)
    >>> joined.allocate(num_utterances=2, dim=2)
    >>> index = torch.tensor([0, 1])
    >>> joined.add(index, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    >>> rows = joined.add(index, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> round(float(rows[0] @ rows[1]), 3)  # the mean of 0 and 1
    0.5
    """

    _tables: Tensor
    _num_known: Tensor

    def __init__(self, num_epochs: int) -> None:
        super().__init__()
        check_whole_number("num_epochs", num_epochs, 2)
        self.num_epochs = num_epochs
        empty = torch.empty(num_epochs, 0, 0, dtype=torch.float16)
        self.register_buffer("_tables", empty)
        self.register_buffer("_num_known", torch.zeros((), dtype=torch.long))

    def allocate(self, num_utterances: int, dim: int) -> None:
        """Forget everything, and size the tables."""
        shape = self.num_epochs, num_utterances, dim
        self._tables = self._tables.new_zeros(shape)
        self._num_known.zero_()

    def forget(self) -> None:
        """Forget everything: nothing can be told from it."""
        self._tables.zero_()
        self._num_known.zero_()

    def add(self, index: Tensor, references: Tensor) -> Tensor | None:
        """Take an epoch's references, and join them with those before.

        Where none has changed, no epoch has passed. Who has no reference of an
        epoch before has the present one in its place.

        Arguments
        ---------
        index : torch.Tensor
            `(num,)` int64, the utterances that have a reference.
        references : torch.Tensor
            `(num, dim)` float32, L2-normalised.

        Returns
        -------
        torch.Tensor or None
            `(num, num_epochs * dim)` float32, L2-normalised; None before there
            are references of enough epochs, and where none has changed.
        """
        table = torch.zeros_like(self._tables[0])
        table[index] = references.half()
        if int(self._num_known) and torch.equal(table, self._tables[0]):
            return None
        self._tables.copy_(torch.cat([table[None], self._tables[:-1]]))
        self._num_known.add_(1).clamp_(max=self.num_epochs)
        if int(self._num_known) < self.num_epochs:
            return None
        rows = self._tables[:, index].float()
        is_missing = (rows == 0).all(2, keepdim=True)
        rows = torch.where(is_missing, rows[:1], rows)
        return F.normalize(rows.transpose(0, 1).flatten(1), dim=1)

    def index_ranges(self) -> dict[str, tuple[int, int]]:
        """Return in which range, start and stop, each buffer of indices is."""
        return {"_num_known": (0, self.num_epochs + 1)}
