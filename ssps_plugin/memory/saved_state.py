"""Check a saved state before any of it is loaded."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# What to change if an entry has another shape, by the part that it belongs to.
_SETTINGS = {
    "queue": (
        "queue_size, positive_dim and num_targets (projection_dim, "
        "bottleneck_dim and num_global_crops)"
    ),
    "bank": "reference_dim",
    "coverage": "coverage",
    "partner_table": "pseudo_positives",
    "strategy": (
        "the strategy and its num_clusters, num_neighbors, num_clusterings, "
        "whitening, num_lists"
    ),
}


def check_entries(saved: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Check that saved entries are tensors like those that they replace.

    The dtypes of floats may differ, since `reference_dtype` can be changed.

    Arguments
    ---------
    saved : mapping
        Entries of the saved state, by name.
    own : mapping
        Those of the sampler, among them all that are saved.

    Raises
    ------
    RuntimeError
        An entry is no tensor, or one of another dtype or shape.

    Example
    -------
    >>> import torch
    >>> check_entries({"cursor": torch.tensor(3)}, {"cursor": torch.tensor(0)})
    """
    for name, value in saved.items():
        expected = own[name]
        found, fits = type(value).__name__, False
        if isinstance(value, Tensor):
            found = f"{value.dtype} of shape {tuple(value.shape)}"
            are_floats = (
                value.is_floating_point() and expected.is_floating_point()
            )
            fits = value.shape == expected.shape and (
                are_floats or value.dtype == expected.dtype
            )
        if not fits:
            settings = _SETTINGS.get(name.partition(".")[0])
            way_out = f"change {settings} back, or " if settings else ""
            raise RuntimeError(
                f"Expected {name} of {expected.dtype} and shape "
                f"{tuple(expected.shape)} in the saved state of a "
                f"PositiveSampler, got {found}: {way_out}resume from another "
                "checkpoint. Nothing was loaded."
            )


def check_ranges(
    saved: Mapping[str, Tensor], ranges: Mapping[str, tuple[int, int]]
) -> None:
    """Check that the integers of a saved state are in their ranges.

    Arguments
    ---------
    saved : mapping
        Entries of the saved state, by name.
    ranges : mapping
        Start and stop of the range of an entry, which may be absent.

    Raises
    ------
    RuntimeError
        A number is out of its range.
    """
    for name, (start, stop) in ranges.items():
        if name not in saved or not saved[name].numel():
            continue
        lowest, highest = (int(bound) for bound in saved[name].aminmax())
        if lowest < start or highest >= stop:
            raise RuntimeError(
                f"Expected {name} in [{start}, {stop}) in the saved state of a "
                "PositiveSampler, got "
                f"{lowest if lowest < start else highest}: the state is "
                "damaged, resume from another checkpoint. Nothing was loaded."
            )


def ranges_of_parts(**parts: Any) -> dict[str, tuple[int, int]]:
    """Gather the ranges that parts of a module give, by their full names.

    Arguments
    ---------
    **parts : torch.nn.Module or None
        Parts with `index_ranges()`, by name. None has none.

    Returns
    -------
    dict
        Name of an entry to start and stop of its range.

    Example
    -------
    >>> from ssps_plugin.memory import PositiveQueue
    >>> list(ranges_of_parts(queue=PositiveQueue(3, 1), lists=None))[0]
    'queue.cursor'
    """
    return {
        f"{name}.{entry}": bounds
        for name, part in parts.items()
        if part is not None
        for entry, bounds in part.index_ranges().items()
    }
