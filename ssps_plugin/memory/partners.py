"""Partners: the utterances that second views are read from, in an epoch."""

from typing import Any

import torch
from torch import Tensor, nn


class PartnerTable(nn.Module):
    """Keep the utterance that each utterance's positive is read from.

    Written once an epoch. Beside the table, which is part of the state, there
    is a copy of it in memory that a DataLoader's workers share: they see a new
    epoch's partners at once, persistent ones too.

    Example
    -------
    >>> table = PartnerTable()
    >>> table.allocate(3)
    >>> table.write(torch.tensor([2, -1, 0]))
    >>> table.shared.tolist(), table.of(torch.tensor([2, 2])).tolist()
    ([2, -1, 0], [0, 0])
    """

    partners: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("partners", torch.empty(0, dtype=torch.long))
        #: On the CPU, `(num_utterances,)` int64, -1 for none. The same memory
        #: from `allocate` on.
        self.shared = self._share(0)
        self.register_load_state_dict_post_hook(_publish)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Share a copied table, in place, since it may be held already."""
        super().__setstate__(state)
        self.shared.share_memory_()

    @staticmethod
    def _share(num_utterances: int) -> Tensor:
        shared = torch.full((num_utterances,), -1, dtype=torch.long)
        return shared.share_memory_()

    def allocate(self, num_utterances: int) -> None:
        """Forget all partners, and prepare for `num_utterances`."""
        self.partners = self.partners.new_full((num_utterances,), -1)
        if len(self.shared) == num_utterances:  # what workers hold stays
            self.shared.fill_(-1)
        else:
            self.shared = self._share(num_utterances)

    def write(self, partners: Tensor) -> None:
        """Replace the partners by `(num_utterances,)` int64, -1 for none."""
        self.partners.copy_(partners)
        self.publish()

    def publish(self) -> None:
        """Copy the table to the memory that workers share."""
        self.shared.copy_(self.partners)

    def of(self, index: Tensor) -> Tensor:
        """Return the partners of utterances `(batch,)`, -1 for none."""
        return self.partners.index_select(0, index)


def _publish(table: PartnerTable, _: object = None) -> None:
    table.publish()
