"""MoCo's loss, and the negatives of earlier steps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssps_plugin.checks import is_above
from ssps_plugin.distributed import gather_rows, mean_over_joint_batch
from ssps_plugin.losses.margins import Margin
from ssps_plugin.losses.objective_module import ObjectiveModule


class NegativeQueue(ObjectiveModule):
    """Keep the last keys, one first-in, first-out queue per direction.

    An entry of `modules` and of the recoverables, under the name `negatives`.
    It takes the keys that the loss has used, substituted ones included, once
    the loss is done: a step's own keys are never its negatives. The keys of
    all ranks are gathered, so every rank holds the same.

    A slot is empty until a key is written to it, and an empty slot is never a
    negative. A key that is not finite leaves its slot empty.

    Arguments
    ---------
    size : int
        Keys kept per direction, at least the batch over all ranks.
    dim : int
        Dimension of the keys.
    num_directions : int
        Two: the queries of both views.

    Raises
    ------
    ValueError
        A number below 1.

    Source: K. He et al., Momentum Contrast for Unsupervised Visual
    Representation Learning, CVPR 2020 (arXiv 1911.05722), algorithm 1. Fed
    with substituted keys: Lepage and Dehak, IEEE TASLP 33, 2025
    (arXiv 2501.17772). Differs: the queue starts empty, not with random keys.

    Example
    -------
    >>> negatives = NegativeQueue(size=3, dim=2, num_directions=1)
    >>> queries = torch.tensor([[[2.0, 0.0]]])  # one direction, one query
    >>> negatives.update(torch.tensor([[[0.0, 1.0], [3.0, 0.0]]]))
    >>> cosines, excluded = negatives(queries)
    >>> cosines.masked_fill(excluded, float("nan"))
    tensor([[[0., 1., nan]]])
    """

    keys: Tensor
    groups: Tensor
    is_filled: Tensor
    cursor: Tensor
    epoch: Tensor

    def __init__(self, size: int, dim: int, num_directions: int = 2) -> None:
        super().__init__()
        if min(size, dim, num_directions) < 1:
            raise ValueError(
                "Expected size, dim and num_directions >= 1, got "
                f"{size}, {dim} and {num_directions}: change negatives_size "
                "or the arguments of negatives."
            )
        self.size = size
        keys = torch.zeros(num_directions, size, dim)
        self.register_buffer("keys", keys)
        self.register_buffer("groups", torch.full((size,), -1))
        self.register_buffer("is_filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.long))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def check_batch(self, num_rows: int) -> None:
        """Check that the queue has as many slots as a step has keys."""
        if num_rows > self.size:
            raise ValueError(
                f"Expected at most {self.size} keys in a step (over all "
                "ranks), the slots of the queue of negatives, got "
                f"{num_rows}: raise negatives_size to at least "
                "global_batch_size."
            )

    def forward(
        self, queries: Tensor, groups: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compare queries with the keys of their direction.

        Arguments
        ---------
        queries : torch.Tensor
            `(num_directions, batch, dim)` float32.
        groups : torch.Tensor, optional
            `(batch,)` int64, clusters of the queries, -1 for none.

        Returns
        -------
        torch.Tensor
            `(num_directions, batch, size)` cosines, with gradient in queries.
        torch.Tensor
            Bool, of a shape that broadcasts to the cosines: which keys are no
            negatives, because their slot is empty or their group the query's.

        Raises
        ------
        ValueError
            Queries of another number of directions or another dimension.
        """
        self._check_shape(queries, "queries")
        # A copy: a backward pass may come after the queue has changed.
        keys = self.keys.clone().transpose(1, 2)
        cosines = F.normalize(queries, dim=-1) @ keys
        excluded = ~self.is_filled
        if groups is not None:
            same = groups[:, None] == self.groups
            excluded = excluded | (same & (groups >= 0)[:, None])
        return cosines, excluded

    @torch.no_grad()
    def update(self, targets: Tensor, groups: Tensor | None = None) -> None:
        """Append a step's keys in place of the oldest, in train mode only.

        Arguments
        ---------
        targets : torch.Tensor
            `(num_directions, batch, dim)`, any float dtype; the batch may
            differ between ranks.
        groups : torch.Tensor, optional
            `(batch,)` int64, the cluster that each key comes from, -1 for
            none.

        Raises
        ------
        ValueError
            Keys of another shape, or more of them over all ranks than slots.
        """
        if not self.training:
            return
        self._check_shape(targets, "keys")
        if groups is None:
            groups = self.groups.new_full((targets.shape[1],), -1)
        keys, groups = gather_rows(targets.transpose(0, 1), groups)
        self.check_batch(len(keys))
        finite = keys.isfinite().flatten(1).all(1)
        keys = keys.where(finite[:, None, None], 0).float()
        slots = torch.arange(len(keys), device=keys.device)
        slots = (slots + self.cursor) % self.size
        keys = F.normalize(keys, dim=-1).transpose(0, 1)
        self.keys.index_copy_(1, slots, keys)
        self.groups.index_copy_(0, slots, groups)
        self.is_filled.index_copy_(0, slots, finite)
        self.cursor.add_(len(slots)).remainder_(self.size)

    def begin_epoch(self, epoch: int) -> None:
        """Forget the groups of keys, since every epoch numbers clusters anew.

        A resume inside an epoch begins the same epoch again, and keeps them.
        """
        if epoch != int(self.epoch):
            self.groups.fill_(-1)
            self.epoch.fill_(epoch)

    def metrics(self) -> dict[str, float]:
        """Return the fraction of slots that hold a negative."""
        return {"negatives_fill": float(self.is_filled.float().mean())}

    def _check_shape(self, tensor: Tensor, name: str) -> None:
        num_directions, _, dim = self.keys.shape
        shape = tuple(tensor.shape)
        if tensor.dim() != 3 or shape[::2] != (num_directions, dim):
            raise ValueError(
                f"Expected {name} of shape ({num_directions}, batch, {dim}), "
                f"got {shape}: change num_directions and dim of NegativeQueue, "
                "which is made for "
                f"{num_directions} directions and dimension {dim}, to what the "
                "framework returns (--negatives '{dim: ...}')."
            )


class MoCoLoss(nn.Module):
    """InfoNCE: find a query's key among the negatives of its direction.

    The loss is the mean over both directions (queries of each view against
    keys of the other). Other keys of the step are no negatives. While the
    queue is empty, the loss is 0. Computed in float32.

    Arguments
    ---------
    temperature : float
        Divides the cosines, greater than 0; 0.03 as published for SSPS.

    Raises
    ------
    ValueError
        A temperature that is not greater than 0.

    Source: K. He et al., Momentum Contrast for Unsupervised Visual
    Representation Learning, CVPR 2020 (arXiv 1911.05722), equation 1; both
    directions and settings: Lepage and Dehak, SSPS, Interspeech 2025
    (arXiv 2505.14561).

    Example
    -------
    >>> negatives = NegativeQueue(size=4, dim=2)
    >>> loss = MoCoLoss(temperature=1.0)
    >>> queries = keys = torch.tensor([1.0, 0.0]).expand(2, 1, 2)
    >>> loss(queries, keys, negatives)  # no negatives yet
    tensor(0.)
    >>> negatives.update(torch.tensor([0.0, 1.0]).expand(2, 1, 2))
    >>> round(loss(queries, keys, negatives).item(), 4)  # log(1 + exp(-1))
    0.3133
    """

    def __init__(self, temperature: float = 0.03) -> None:
        super().__init__()
        if not is_above(0, temperature):
            raise ValueError(
                f"Expected temperature > 0, got {temperature}: change "
                "temperature."
            )
        self.temperature = temperature

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        negatives: NegativeQueue,
        groups: Tensor | None = None,
        positive_groups: Tensor | None = None,
        margin: Margin | None = None,
    ) -> Tensor:
        """Compute the loss.

        Arguments
        ---------
        queries : torch.Tensor
            `(2, batch, dim)`, any float dtype.
        keys : torch.Tensor
            `(2, batch, dim)`, row by row the positives of the queries.
        negatives : NegativeQueue
            The keys of earlier steps; read only.
        groups : torch.Tensor, optional
            `(batch,)` int64, clusters of the anchors. Negatives of the
            anchor's cluster (-1: none) are left out.
        positive_groups : torch.Tensor, optional
            Not used here; the Brain passes it to `negatives.update`.
        margin : Margin, optional
            Makes the cosines of queries and keys harder to raise.

        Returns
        -------
        torch.Tensor
            0-d float32, the mean over queries. Over ranks, the mean of the
            ranks' losses is the loss of the joint batch.

        Raises
        ------
        ValueError
            Queries and keys of different shapes, or not of two directions.
        """
        if queries.shape != keys.shape or queries.dim() != 3:
            raise ValueError(
                "Expected queries and keys of one shape (2, batch, dim), got "
                f"{tuple(queries.shape)} and {tuple(keys.shape)}: change "
                "framework or ssl_loss."
            )
        with torch.autocast(queries.device.type, enabled=False):
            queries, keys = queries.float(), keys.float()
            norms = queries.detach().norm(dim=-1, keepdim=True)
            queries = F.normalize(queries, dim=-1)
            # (2, batch, 1) and (2, batch, size)
            targets = (queries * F.normalize(keys, dim=-1)).sum(-1, True)
            others, excluded = negatives(queries, groups)
            if margin is not None:
                targets, others = margin(targets, others, norms)
            others = others.masked_fill(excluded, -torch.inf)
            logits = torch.cat([targets, others], dim=-1) / self.temperature
            logits = logits.flatten(0, 1)
            # A query's key is in the first column.
            classes = logits.new_zeros(len(logits), dtype=torch.long)
            loss = F.cross_entropy(logits, classes, reduction="sum")
            return mean_over_joint_batch(loss, len(logits))
