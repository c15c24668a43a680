"""The views of methods that compare two of one length."""

from collections.abc import Sequence

from torch import Tensor


def flatten_view_pair(views: Sequence[Tensor]) -> Tensor:
    """Return the views of the one group, `(2 * batch, samples)`, view by view.

    Raises
    ------
    ValueError
        Another number of groups or views.

    Example
    -------
    >>> import torch
    >>> flatten_view_pair([torch.zeros(4, 2, 16000)]).shape
    torch.Size([8, 16000])
    """
    shapes = [tuple(group.shape) for group in views]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != 2:
        raise ValueError(
            "Expected one group of two views, (batch, 2, samples), got "
            f"{len(shapes)}: {shapes}. Set crop_groups to one group of 2 crops."
        )
    return views[0].transpose(0, 1).flatten(0, 1)
