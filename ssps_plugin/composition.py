"""What a Brain refuses to be composed of, before anything is trained."""

from collections.abc import Mapping
from typing import Any

import speechbrain as sb
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


def check_run_options(brain: sb.Brain) -> None:
    """Refuse SpeechBrain's options that would train something else in silence.

    Raises
    ------
    ValueError
        Whole modules compiled or scripted, which hides what a Brain calls
        besides `forward`; data parallelism without torchrun, which cuts
        outputs along their first dimension, the views; a limit to the gradient
        that is not above 0, by which SpeechBrain turns the gradient round.
    """
    for option in ("compile", "compile_module_keys", "jit", "jit_module_keys"):
        if getattr(brain, option):
            raise ValueError(
                f"Expected no --{option}, which puts modules out of reach of "
                "the training's own calls: use --compile_backend inductor, "
                "which compiles the encoders."
            )
    if brain.data_parallel_backend:
        raise ValueError(
            "Expected no --data_parallel_backend, which cuts a batch of views "
            "in the wrong place: start the recipe by torchrun "
            "--nproc_per_node=<number of GPUs>."
        )
    if not brain.max_grad_norm > 0:
        raise ValueError(
            "Expected max_grad_norm above 0, got "
            f"{brain.max_grad_norm}, by which SpeechBrain would turn the "
            "gradient round: .inf clips nothing."
        )
