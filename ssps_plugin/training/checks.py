"""Checks before training: what is composed, and what is resumed."""

import pathlib
from collections.abc import Mapping
from typing import Any

import speechbrain as sb
from torch import Tensor, nn

from ssps_plugin.frameworks import Framework
from ssps_plugin.training.configuration import Configuration

# Places, which may change without anything being trained otherwise.
_PLACES = {
    "data_folder",
    "made_trials",
    "minivox_folder",
    "output_folder",
    "overlay",
    "save_folder",
    "train_log",
    "train_manifest",
}


def check_spaces(framework: Framework, sampler: nn.Module) -> None:
    """Refuse to draw references where positives live in another space.

    Raises
    ------
    ValueError
        A strategy that substitutes centroids, and a framework with a head.
    """
    strategy = getattr(sampler, "strategy", None)
    if (
        getattr(strategy, "draws_references", False)
        and not framework.positives_are_embeddings
    ):
        raise ValueError(
            f"{type(strategy).__name__} substitutes centroids of "
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


def check_same_run(configuration: Configuration) -> bool:
    """Refuse to go on with another experiment's run, and note what changed.

    What differs from the settings that the run was started with is added to
    the configuration's notes.

    Arguments
    ---------
    configuration : Configuration
        Of a recipe with the keys `output_folder`, `save_folder`, `experiment`
        and `true_positives`.

    Returns
    -------
    bool
        Whether there is a run to go on with.

    Raises
    ------
    ValueError
        The folder holds a run of another `experiment`, or of another
        `true_positives`.
    """
    now = configuration.settings()
    folder, save = (
        pathlib.Path(now[key]) for key in ("output_folder", "save_folder")
    )
    saved = folder / "hyperparams.yaml"
    if not saved.is_file() or not any(save.glob("CKPT*")):
        return False
    before = Configuration(saved, None, {}).settings()
    if before["experiment"] != now["experiment"]:
        start = ""
        if "warm_start_from" in now:
            start = f" (and start from it by --warm_start_from {save})"
        raise ValueError(
            f"Expected to go on with {before['experiment']}, whose run is in "
            f"{folder}, got {now['experiment']}: change output_folder{start}."
        )
    if before["true_positives"] != now["true_positives"]:
        raise ValueError(
            f"Expected to go on with true_positives "
            f"{before['true_positives']}, as the run in {folder} was started, "
            f"got {now['true_positives']}: change output_folder or "
            "true_positives."
        )
    changed = [
        f"{key} {before[key]} -> {value}"
        for key, value in now.items()
        if key in before and key not in _PLACES and before[key] != value
    ]
    if changed:
        configuration.notes.append(
            f"Going on with the run in {folder}, with other settings than it "
            f"was started with: {', '.join(changed)}."
        )
    return True
