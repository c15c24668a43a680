"""Masks over the rows of a step; None is the mask that is true everywhere.

On a CPU, where looking costs nothing, the usual step is seen to need no mask.
On a GPU, where looking would wait for the host, there is always one.
"""

import torch
from torch import Tensor


def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Rows that are true in both masks, `(batch,)` bool each, or None.

    Example
    -------
    >>> both(torch.tensor([True, False]), None).tolist()
    [True, False]
    """
    if first is None or second is None:
        return second if first is None else first
    return first & second


def choose(mask: Tensor | None, values: Tensor, otherwise: int) -> Tensor:
    """Values of the rows that are true, `otherwise` elsewhere.

    Arguments
    ---------
    mask : torch.Tensor, optional
        `(batch,)` bool.
    values : torch.Tensor
        `(batch,)`.
    otherwise : int
        For the rows that are not true.

    Returns
    -------
    torch.Tensor
        `(batch,)` of the dtype of `values`.

    Example
    -------
    >>> choose(torch.tensor([True, False]), torch.tensor([4, 9]), -1).tolist()
    [4, -1]
    >>> choose(None, torch.tensor([4, 9]), -1).tolist()
    [4, 9]
    """
    return values if mask is None else torch.where(mask, values, otherwise)
