"""Gather, reduce and broadcast over the ranks; with one process, no-ops.

The only module that imports `torch.distributed`. Batches may differ in size
between ranks (dynamic batching, a last batch), so a gather exchanges the sizes
first.
"""

import datetime
import gc
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

if dist.is_available():
    # Its functions have the group as a default argument. If the first import
    # were in a training step, as by PyTorch, they would hold the group forever.
    import torch.distributed.nn.functional

# What parallel training puts around a module.
WRAPPERS = (DistributedDataParallel, DataParallel)


def is_distributed() -> bool:
    """Return whether there is a process group of more than one rank."""
    return (
        dist.is_available()
        and dist.is_initialized()
        and dist.get_world_size() > 1
    )


def rank() -> int:
    """Return this process's rank, 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of ranks, 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def set_timeout(timeout: datetime.timedelta) -> None:
    """Set how long a rank may keep the others waiting, if a group is up."""
    if is_distributed():
        dist.distributed_c10d._set_pg_timeout(timeout)


@dataclass(frozen=True)
class JointBatch:
    """The number of rows of every rank, for gathers after one exchange.

    On every rank, tensors that are gathered have as many rows as the tensor
    that the sizes are from. An exchange makes a GPU's host wait, so a step
    should make few.

    Arguments
    ---------
    sizes : tuple of int
        Number of rows of each rank.
    rank : int
        Rank of this process.

    Example
    -------
    >>> joint = JointBatch.of(torch.tensor([1, 2]))  # one process
    >>> joint.start, len(joint), joint.gather(torch.tensor([3, 4]))[0].tolist()
    (0, 2, [3, 4])
    """

    sizes: tuple[int, ...]
    rank: int

    @classmethod
    def of(cls, tensor: Tensor) -> "JointBatch":
        """Exchange the number of rows of a tensor with all ranks."""
        if not is_distributed():
            return cls((tensor.shape[0],), 0)
        size = torch.tensor([tensor.shape[0]], device=tensor.device)
        sizes = [torch.empty_like(size) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, size)
        return cls(tuple(torch.cat(sizes).tolist()), dist.get_rank())

    def __len__(self) -> int:
        """Return the number of rows of all ranks."""
        return sum(self.sizes)

    @property
    def start(self) -> int:
        """Number of gathered rows that belong to lower ranks."""
        return sum(self.sizes[: self.rank])

    @property
    def own(self) -> slice:
        """Where this rank's rows are among the gathered ones."""
        return slice(self.start, self.start + self.sizes[self.rank])

    def gather(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Concatenate tensors of all ranks, as `gather_rows` does.

        Raises
        ------
        ValueError
            More than one rank, and a tensor of another number of rows.
        """
        detached = tuple(tensor.detach() for tensor in tensors)
        if not is_distributed():
            return detached
        return tuple(self._gather(tensor) for tensor in detached)

    def gather_with_gradient(self, tensor: Tensor) -> Tensor:
        """Concatenate a tensor of all ranks, with gradient.

        Arguments
        ---------
        tensor : torch.Tensor
            `(batch, ...)`.

        Returns
        -------
        torch.Tensor
            `(sum of batches, ...)`. In the backward pass each rank receives
            the sum over the ranks of the gradients of its own rows.

        Raises
        ------
        ValueError
            More than one rank, and a tensor of another number of rows.
        """
        if not is_distributed():
            return tensor
        gathered: Tensor = _GatherWithGradient.apply(tensor, self)
        return gathered

    def _gather(self, tensor: Tensor) -> Tensor:
        if tensor.shape[0] != self.sizes[self.rank]:
            raise ValueError(
                f"Expected {self.sizes[self.rank]} rows, as many as of the "
                f"tensor that made the JointBatch, got {tensor.shape[0]}: make "
                "a JointBatch of this tensor."
            )
        padded = tensor.new_zeros((max(self.sizes), *tensor.shape[1:]))
        padded[: tensor.shape[0]] = tensor
        parts = [torch.empty_like(padded) for _ in self.sizes]
        dist.all_gather(parts, padded)
        return torch.cat(
            [part[:size] for part, size in zip(parts, self.sizes, strict=True)]
        )


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor, joint: JointBatch) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.own = joint.own
        return joint.gather(tensor)[0]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        # A copy: the gradient may be another node's too.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.own], None


def gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Concatenate tensors of all ranks, in rank order, without gradient.

    Arguments
    ---------
    *tensors : torch.Tensor
        Tensors that share their first dimension, `(batch, ...)`. The batch may
        differ between ranks; other dimensions and dtypes may not.

    Returns
    -------
    tuple of torch.Tensor
        The tensors of all ranks, `(sum of batches, ...)`, without gradient.

    Example
    -------
    >>> gather_rows(torch.tensor([1, 2]))[0].tolist()  # one process
    [1, 2]
    """
    return JointBatch.of(tensors[0]).gather(*tensors)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over the ranks, element by element, without gradient.

    Arguments
    ---------
    tensor : torch.Tensor
        Of one shape and dtype on all ranks.

    Returns
    -------
    torch.Tensor
        The sum, in the shape and dtype of `tensor`, without gradient.

    Example
    -------
    >>> sum_over_ranks(torch.tensor([1.0, 2.0]))  # one process
    tensor([1., 2.])
    """
    if not is_distributed():
        return tensor.detach()
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class _SumWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return sum_over_ranks(tensor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return sum_over_ranks(gradient)


def sum_over_ranks_with_gradient(tensor: Tensor) -> Tensor:
    """Sum a tensor over the ranks, element by element, with gradient.

    Arguments
    ---------
    tensor : torch.Tensor
        Of one shape and dtype on all ranks.

    Returns
    -------
    torch.Tensor
        The sum. In the backward pass each rank receives the sum over the ranks
        of the gradients, as by `JointBatch.gather_with_gradient`.

    Example
    -------
    >>> sum_over_ranks_with_gradient(torch.tensor([1.0, 2.0]))  # one process
    tensor([1., 2.])
    """
    if not is_distributed():
        return tensor
    total: Tensor = _SumWithGradient.apply(tensor)
    return total


def mean_over_ranks(value: float, device: torch.device | str) -> float:
    """Average a number over the ranks, which waits for the device."""
    if not is_distributed():
        return value
    own = torch.tensor(value, dtype=torch.float64, device=device)
    return float(sum_over_ranks(own)) / dist.get_world_size()


def mean_over_joint_batch(total: Tensor, num_terms: int) -> Tensor:
    """Scale a loss so that the ranks' mean is that over the joint batch.

    Parallel training averages ranks with equal weight, whatever their batches.
    The mean of what they return here is the mean over all of their terms.

    Arguments
    ---------
    total : torch.Tensor
        0-d, the sum of this rank's terms.
    num_terms : int
        Number of this rank's terms.

    Returns
    -------
    torch.Tensor
        0-d, this rank's loss, with gradient.

    Example
    -------
    >>> mean_over_joint_batch(torch.tensor(6.0), num_terms=4)  # one process
    tensor(1.5000)
    """
    num_terms_of_all = sum_over_ranks(total.new_full((), num_terms))
    return total * world_size() / num_terms_of_all


def log_sum_exp_over_ranks(tensor: Tensor) -> Tensor:
    """Compute log(sum(exp(tensor))) over the ranks, without gradient."""
    own = tensor.detach()
    if not is_distributed():
        return own
    peak = own.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    return peak + sum_over_ranks((own - peak).exp()).log()


def share_of_rank(tensor: Tensor, dim: int = 0) -> Tensor:
    """Return this rank's part of a tensor that is the same on all ranks.

    The parts are of nearly equal size, and together they are the tensor.

    Arguments
    ---------
    tensor : torch.Tensor
        The same on all ranks.
    dim : int
        Dimension along which it is split.

    Returns
    -------
    torch.Tensor
        A view of `tensor`.
    """
    if not is_distributed():
        return tensor
    return tensor.tensor_split(dist.get_world_size(), dim)[dist.get_rank()]


def broadcast_state(module: nn.Module) -> None:
    """Replace parameters and buffers of every rank by those of rank 0."""
    if is_distributed():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def broadcast_buffers(module: nn.Module) -> None:
    """Replace the buffers of every rank by those of rank 0."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def without_wrapper(module: Any) -> Any:
    """Return a module without its wrapper of parallel training, if any."""
    return module.module if isinstance(module, WRAPPERS) else module


def leave_group() -> None:
    """Leave the process group, if there is one, and wait for its threads.

    Gloo's threads end with the group, once nothing refers to it. A thread that
    still frees tensors when the interpreter exits aborts the process. So the
    wrappers of parallel training have to be unreachable before the call.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()  # wrappers are in reference cycles
        dist.destroy_process_group()
