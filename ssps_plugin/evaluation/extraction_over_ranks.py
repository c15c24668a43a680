"""Embeddings extracted by all ranks, each a share."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ssps_plugin.distributed import gather_rows, rank, world_size

File = TypeVar("File")


def extract_over_ranks(
    extract: Callable[[Sequence[File]], Tensor],
    files: Sequence[File],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Extract embeddings of files, sharing the work among the ranks.

    Arguments
    ---------
    extract : callable
        `extract(files) -> (files, dim)`, on the CPU.
    files : sequence
        The same on every rank.
    device : torch.device or str
        Where the ranks exchange tensors.

    Returns
    -------
    torch.Tensor
        `(files, dim)` on the CPU, the same on every rank.

    Example
    -------
    >>> extract_over_ranks(lambda files: torch.ones(len(files), 2), ["a"])
    tensor([[1., 1.]])
    """
    num_ranks = world_size()
    if num_ranks == 1 or len(files) < num_ranks:
        return extract(files)
    own = extract(files[rank() :: num_ranks])
    (gathered,) = gather_rows(own.to(device))
    # Rank by rank, every num_ranks-th file from the rank on.
    place = torch.cat(
        [torch.arange(r, len(files), num_ranks) for r in range(num_ranks)]
    )
    embeddings = torch.empty(gathered.shape, dtype=gathered.dtype)
    embeddings[place] = gathered.cpu()
    return embeddings
