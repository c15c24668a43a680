"""Split anchors into parts whose candidates fit into memory together."""

import torch
from torch import Tensor


def split_by_places(
    index: Tensor, num_places: Tensor, most: int
) -> list[Tensor]:
    """Split anchors where their candidates pass a multiple of `most`.

    Arguments
    ---------
    index : torch.Tensor
        `(num,)` int64, the anchors' utterances.
    num_places : torch.Tensor
        `(num,)` int64, how many candidates are listed for each.
    most : int
        Candidates of a part, and at most one anchor's more.

    Returns
    -------
    list of torch.Tensor
        Parts of `index`, in order; one empty part of an empty one.

    Example
    -------
    >>> sizes = torch.tensor([2, 2, 5, 1])
    >>> [part.tolist() for part in split_by_places(sizes, sizes, most=4)]
    [[2, 2], [5, 1]]
    """
    part = (num_places.cumsum(0) - 1).clamp(min=0) // most
    sizes = torch.unique_consecutive(part, return_counts=True)[1]
    return list(index.split(sizes.tolist())) if len(index) else [index]
