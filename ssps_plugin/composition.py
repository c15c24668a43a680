"""What a Brain refuses to be composed of, before anything is trained."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssps_plugin.frameworks import Framework
from ssps_plugin.positive_sampler import PositiveSampler


def check_spaces(framework: Framework, sampler: nn.Module) -> None:
    """Refuse to draw references where positives live in another space.

    Raises
    ------
    ValueError
        A strategy that substitutes centroids, and a framework with a head.
    """
    if (
        isinstance(sampler, PositiveSampler)
        and sampler.strategy.draws_references
        and not framework.positives_are_embeddings
    ):
        raise ValueError(
            f"{type(sampler.strategy).__name__} substitutes centroids of "
            f"references, but the positives of {type(framework).__name__} do "
            "not live in their space: there is a head between them. Use "
            "ClusteringSampling, or a framework without a head."
        )


def check_recoverables(
    modules: Mapping[str, nn.Module], recoverables: Mapping[str, Any]
) -> None:
    """Refuse to train what would not be saved.

    Raises
    ------
    ValueError
        A module with a state is in no recoverable.
    """
    saved = {
        id(part)
        for one in recoverables.values()
        if isinstance(one, nn.Module)
        for part in one.modules()
    }
    lost = [
        name
        for name, module in modules.items()
        if id(module) not in saved
        and any(
            isinstance(value, Tensor) or value
            for value in module.state_dict().values()
        )
    ]
    if lost:
        raise ValueError(
            f"Expected every entry of modules among the checkpointer's "
            f"recoverables, got {', '.join(recoverables)} without "
            f"{', '.join(lost)}, whose state a resume would lose: add "
            f"{' and '.join(lost)} to recoverables."
        )
