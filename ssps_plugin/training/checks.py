"""Checks before training: of what is composed, and of what is resumed."""

import importlib.util
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.dataio import CropGroup
from ssps_plugin.dataio.loading import check_step_size
from ssps_plugin.distributed import world_size
from ssps_plugin.frameworks import SDPN, Framework
from ssps_plugin.losses import ObjectiveModule
from ssps_plugin.reference import check_reference_precision
from ssps_plugin.training.configuration import (
    read_saved_arguments,
    read_saved_settings,
)

logger = get_logger(__name__)

_SHOWN_CHARACTERS = 200
# Of an argument that is not given.
_DEFAULT = "its default"
# Of longer crops a second tells whether they are taken.
_SECONDS_TRIED = 1.0
# Keys that hold files and folders: a run may move, and train the same.
_PATHS = {
    "data_folder",
    "made_trials",
    "minivox_folder",
    "output_folder",
    "overlay",
    "save_folder",
    "train_log",
    "train_manifest",
}


def check_spaces(
    framework: Framework,
    sampler: nn.Module,
    reference_encoder: nn.Module | None = None,
) -> None:
    """Check that references may be substituted for positives.

    Arguments
    ---------
    framework : Framework
        What makes the positives.
    sampler : torch.nn.Module
        A `PositiveSampler`, or what is used in place of it.
    reference_encoder : torch.nn.Module, optional
        What embeds references in place of the framework.

    Raises
    ------
    ValueError
        The sampler substitutes centroids of references, and the positives
        live in another space than these: the framework has a head, or another
        encoder embeds the references.
    """
    if reference_encoder is not None:
        check_draws_positives(sampler)
    strategy = getattr(sampler, "strategy", None)
    draws_references = getattr(strategy, "draws_references", False)
    if draws_references and not framework.positives_are_embeddings:
        raise ValueError(
            "Expected positives in the space of the references, whose "
            f"centroids {type(strategy).__name__} substitutes, got those of "
            f"{type(framework).__name__}: there is a head between them. "
            "Change the sampler's strategy to ClusteringSampling, or take a "
            "framework without a head."
        )


def check_draws_positives(sampler: nn.Module) -> None:
    """Check that references of another encoder may be drawn by.

    Arguments
    ---------
    sampler : torch.nn.Module
        A `PositiveSampler`, or what is used in place of it.

    Raises
    ------
    ValueError
        The sampler substitutes centroids of references.
    """
    strategy = getattr(sampler, "strategy", None)
    if getattr(strategy, "draws_references", False):
        raise ValueError(
            "Expected references of the encoder that is trained, whose "
            f"centroids {type(strategy).__name__} substitutes, got those of a "
            "reference_encoder: change the sampler's strategy, or leave "
            "reference_encoder out."
        )


def pretrained_parameters(framework: Framework) -> list[nn.Parameter]:
    """Return the parameters of a front end that `frontend_lr` is for.

    Those that come pre-trained, in modules of the features. What the features
    hold themselves, as weights of layers, is new, and learns as the encoder.

    Arguments
    ---------
    framework : Framework
        Its embedding model's features are looked at.

    Returns
    -------
    list of torch.nn.Parameter

    Raises
    ------
    ValueError
        There are none to train.
    """
    features = getattr(framework.embedding_model, "features", nn.Identity())
    found = [
        parameter
        for name, parameter in features.named_parameters()
        if "." in name and parameter.requires_grad
    ]
    if not found:
        raise ValueError(
            "Expected features with pre-trained parameters to tune at "
            f"frontend_lr, got {type(features).__name__} with none that are "
            "trained: change frontend_lr to null, or features to tune them "
            "(hparams/ssl_frontend.yaml, --features '{freeze: False}')."
        )
    return found


def check_dimensions(
    framework: Framework,
    sampler: nn.Module,
    sample_rate: int,
    reference_encoder: nn.Module | None = None,
) -> None:
    """Check that features, encoder and memories fit, by embedding a second.

    Arguments
    ---------
    framework : Framework
        On any device. Nothing of it changes.
    sampler : torch.nn.Module
        A `PositiveSampler`, or what is used in place of it.
    sample_rate : int
        In Hz.
    reference_encoder : torch.nn.Module, optional
        What embeds references in place of the framework, in eval mode.

    Raises
    ------
    ValueError
        The encoder does not take the features, or the references are not of
        the sampler's `reference_dim`.
    """
    try:
        with _tried_out(framework):
            second = torch.zeros(1, sample_rate)
            dim = framework.embed(second).shape[-1]
            if reference_encoder is not None:
                dim = reference_encoder(second).shape[-1]
    except RuntimeError as error:
        reason = _first_words(error)
        raise ValueError(
            "Expected an encoder that takes the bands of the features, got: "
            f"{reason}. Change num_mels, or input_size of encoder (with a "
            "pre-trained front end, hidden_size in its config.json)."
        ) from error
    expected = getattr(getattr(sampler, "bank", None), "dim", dim)
    if dim != expected and reference_encoder is not None:
        raise ValueError(
            f"Expected a reference_encoder of the sampler's reference_dim, "
            f"{expected}, got one of {dim} numbers: change reference_dim "
            f"(of sampler) to {dim}."
        )
    if dim != expected:
        raise ValueError(
            f"Expected embeddings of the sampler's reference_dim, {expected}, "
            f"got {dim} numbers from the encoder: change embedding_dim, or "
            f"reference_dim (of sampler) to {dim} (and positive_dim, without a "
            "head)."
        )


def check_crops(
    framework: Framework,
    groups: Sequence[CropGroup],
    sample_rate: int,
    reference_encoder: nn.Module | None = None,
) -> None:
    """Check that crops are long enough, and as many as the framework takes.

    At most a second of each crop of one utterance is embedded, in eval mode.

    Arguments
    ---------
    framework : Framework
        On any device. Nothing of it changes.
    groups : sequence of CropGroup
        The training's groups of crops, and the reference's.
    sample_rate : int
        In Hz.
    reference_encoder : torch.nn.Module, optional
        What embeds references in place of the framework, in eval mode.

    Raises
    ------
    ValueError
        A group's crops are too short for features and encoder, or the
        framework takes other groups than these.
    """
    views = []
    with _tried_out(framework):
        for group in groups:
            if group.num_crops == 0:
                continue
            seconds = min(group.seconds, _SECONDS_TRIED)
            crop = torch.zeros(1, round(seconds * sample_rate))
            if group.is_reference:
                embed = reference_encoder or framework.embed
                _try_crop(embed, crop, group)
                continue
            _try_crop(framework.embed, crop, group)
            crops = [crop[0]] * (group.num_crops or 1)
            views.append(group.stack(crops)[None])
        framework(*views)


@contextmanager
def _tried_out(framework: Framework) -> Iterator[None]:
    """Try in eval mode, without gradients; nothing changes by it."""
    was_training = framework.training
    framework.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        framework.train(was_training)


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN_CHARACTERS]


def _try_crop(embed: Any, crop: Tensor, group: CropGroup) -> None:
    try:
        embed(crop)
    except (RuntimeError, IndexError) as error:
        key = "reference_seconds"
        if not group.is_reference:
            key = f"the seconds of {group.key!r} in crop_groups"
        raise ValueError(
            f"Expected crops that are long enough for features and encoder, "
            f"got {group.seconds:g} s for {group.key!r} "
            f"({_first_words(error)}): change "
            f"{key}."
        ) from error


def check_ssl_folder(features: str | None, folder: str | None) -> None:
    """Check that a pre-trained front end is there, before it is built.

    Arguments
    ---------
    features : str or None
        The tag of `features` in the YAML file.
    folder : str or None
        `ssl_folder`.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or no model in it.
    RuntimeError
        The package that it needs is not installed.
    ValueError
        One is given without the other.
    """
    if ".integrations.huggingface." not in (features or ""):
        if folder is not None:
            raise ValueError(
                "Expected features that read ssl_folder, got "
                f"{features}: add --overlay hparams/ssl_frontend.yaml, or "
                "leave ssl_folder out."
            )
        return
    if importlib.util.find_spec("transformers") is None:
        raise RuntimeError(
            "Expected transformers, for a pre-trained front end: pip install "
            "'ssps_plugin[ssl]'."
        )
    if folder is None:
        raise ValueError(
            "Expected the local folder of a pre-trained model, got none: "
            "change ssl_folder."
        )
    path = pathlib.Path(folder)
    weights = [*path.glob("*.safetensors"), *path.glob("*.bin")]
    if not (path / "config.json").is_file() or not weights:
        raise FileNotFoundError(
            "Expected a local folder with config.json and weights "
            f"(model.safetensors or pytorch_model.bin), got {folder}: change "
            "ssl_folder; huggingface-cli download NAME --local-dir FOLDER "
            "fetches a model once."
        )


def check_recoverables(
    modules: Mapping[str, nn.Module], recoverables: Mapping[str, Any]
) -> None:
    """Check that all that is trained is saved.

    Arguments
    ---------
    modules : mapping
        The Brain's modules, by name.
    recoverables : mapping
        What the checkpointer saves, by name.

    Raises
    ------
    ValueError
        A module with a state is in no recoverable.
    """
    saved = {
        id(part)
        for recoverable in recoverables.values()
        if isinstance(recoverable, nn.Module)
        for part in recoverable.modules()
    }
    lost = [
        name
        for name, module in modules.items()
        if id(module) not in saved
        and any(
            value.numel() if isinstance(value, Tensor) else value
            for value in module.state_dict().values()
        )
    ]
    if lost:
        raise ValueError(
            "Expected every entry of modules among the checkpointer's "
            f"recoverables, got {', '.join(recoverables)} without "
            f"{', '.join(lost)}, whose state a resume would lose: add "
            f"{' and '.join(lost)} to recoverables."
        )


def check_run_options(brain: sb.Brain) -> None:
    """Check for run options that would silently train something else.

    Arguments
    ---------
    brain : speechbrain.Brain
        As SpeechBrain's constructor leaves it.

    Raises
    ------
    ValueError
        Whole modules are compiled or scripted, which hides what a Brain calls
        besides `forward`; data parallelism without torchrun, which cuts
        outputs along their first dimension, the views; a limit to the gradient
        that is not above 0, by which SpeechBrain reverses the gradient.
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
            "along the wrong dimension: start the recipe by torchrun "
            "--nproc_per_node=<number of GPUs>."
        )
    if not brain.max_grad_norm > 0:
        raise ValueError(
            "Expected max_grad_norm above 0, got "
            f"{brain.max_grad_norm}, by which SpeechBrain would reverse "
            "the gradient: change max_grad_norm; .inf clips nothing."
        )


def check_batch(hparams: Mapping[str, Any]) -> None:
    """Check that a step has utterances enough, and not more than the queue.

    A step compares utterances. Batch statistics of one row are none, and views
    that are encoded together are several rows of an utterance.

    Arguments
    ---------
    hparams : mapping
        A recipe's values: `global_batch_size`, `framework`, `modules`, and,
        with SSPS, `sampler` and `reference_in_eval_mode`.

    Raises
    ------
    ValueError
        A step has one utterance, or more than `queue_size` or than another
        memory takes; or a process has one of them, and a pass of its own for
        it.
    """
    framework, sampler = hparams["framework"], hparams["sampler"]
    batch_size, num_ranks = hparams["global_batch_size"], world_size()
    check_step_size(batch_size)
    sampler.check_batch(batch_size)
    for module in hparams.get("modules", {}).values():
        if isinstance(module, ObjectiveModule):
            module.check_batch(batch_size)
    if batch_size // num_ranks > 1:
        return
    reasons = []
    if isinstance(framework, SDPN):
        reasons.append("SDPN's teacher sees one view of an utterance")
    if not getattr(framework, "views_together", True):
        reasons.append("views_together is False")
    if sampler.enabled and not hparams.get("reference_in_eval_mode", True):
        reasons.append("reference_in_eval_mode is False")
    if reasons:
        raise ValueError(
            "Expected at least 2 utterances of a step in each of "
            f"{num_ranks} processes, since {' and '.join(reasons)}, got "
            f"global_batch_size {batch_size}: change "
            "global_batch_size, or use fewer processes."
        )


def check_references(
    reference_from: Any, precision: Any, has_encoder: bool = False
) -> None:
    """Check what references are made of.

    Arguments
    ---------
    reference_from : str
        `reference_from` of the YAML file.
    precision : str or None
        `reference_precision`.
    has_encoder : bool
        Whether there is a `reference_encoder`.

    Raises
    ------
    ValueError
        One of them is unknown, or there is no pass of its own for the
        precision, or for the encoder.
    """
    if reference_from not in ("clean", "view"):
        raise ValueError(
            "Expected reference_from clean (a segment of its own) or view "
            f"(the first training view), got {reference_from!r}: change "
            "reference_from."
        )
    check_reference_precision(precision)
    if reference_from == "view" and precision is not None:
        raise ValueError(
            "Expected reference_precision null with reference_from view, "
            f"whose references come out of the training pass, got {precision}: "
            "change reference_precision, or train with --precision."
        )
    if reference_from == "view" and has_encoder:
        raise ValueError(
            "Expected reference_encoder null with reference_from view, whose "
            "references come out of the training pass, got one: change "
            "reference_from to clean."
        )


def find_resumable_run(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the run that the output folder holds, if it has a checkpoint.

    Arguments
    ---------
    settings : mapping
        Plain values of a recipe, `output_folder` and `save_folder` among them;
        see `Configuration.settings`.

    Returns
    -------
    dict or None
        The settings that the run was started with. Nothing of its saved
        configuration is executed.

    Raises
    ------
    ValueError
        The saved configuration is damaged; the message names it.
    """
    saved = pathlib.Path(settings["output_folder"], "hyperparams.yaml")
    if not saved.is_file() or not has_checkpoints(settings["save_folder"]):
        return None
    started = read_saved_settings(saved)
    lost = {"experiment", "true_positives"} & settings.keys() - started.keys()
    if lost:
        raise ValueError(
            f"Expected a whole configuration in {saved}, got one without "
            f"{' and '.join(sorted(lost))}."
        )
    return started


def has_checkpoints(save_folder: str | os.PathLike[str]) -> bool:
    """Whether there are checkpoints, perhaps damaged, in a folder."""
    folder = pathlib.Path(save_folder)
    return any(folder.glob("CKPT+*")) or any(folder.glob("DAMAGED+CKPT+*"))


def check_same_experiment(
    settings: Mapping[str, Any], started: Mapping[str, Any]
) -> None:
    """Check that a run is resumed as the experiment that it was started as.

    Arguments
    ---------
    settings : mapping
        Those to resume with; `output_folder`, `save_folder`, `experiment` and
        `true_positives` among them.
    started : mapping
        Those that the run was started with, by `find_resumable_run`.

    Raises
    ------
    ValueError
        The run is of another `experiment`, `true_positives` or
        `reference_dim`.
    """
    folder = settings["output_folder"]
    if started["experiment"] != settings["experiment"]:
        warm_start = ""
        if "ssps_start_epoch" in settings:
            warm_start = (
                " (and start from that run by --warm_start_from "
                f"{settings['save_folder']})"
            )
        raise ValueError(
            f"Expected to go on with {started['experiment']}, whose run is in "
            f"{folder}, got {settings['experiment']}: change output_folder"
            f"{warm_start}."
        )
    if started["true_positives"] != settings["true_positives"]:
        raise ValueError(
            "Expected to go on with true_positives "
            f"{started['true_positives']}, as the run in {folder} was started, "
            f"got {settings['true_positives']}: change output_folder or "
            "true_positives."
        )
    dim = settings.get("reference_dim")
    if started.get("reference_dim", dim) != dim:
        raise ValueError(
            "Expected to go on with references of "
            f"{started['reference_dim']} numbers, as the run in {folder} was "
            f"started, got {dim}: change embedding_dim or reference_encoder "
            f"(it was {started.get('reference_encoder')}) back, or "
            "output_folder."
        )


def log_changed_settings(
    settings: Mapping[str, Any],
    started: Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Log which settings differ from those that a run was started with.

    Files and folders are left out: a run may move.

    Arguments
    ---------
    settings : mapping
        Those to resume with.
    started : mapping
        Those that the run was started with, by `find_resumable_run`.
    arguments : mapping, optional
        What objects are made of now, by `Configuration.arguments`: compared
        with what is saved in the output folder.
    """
    changed = [
        f"{key} {started[key]} -> {value}"
        for key, value in settings.items()
        if key in started and key not in _PATHS and started[key] != value
    ]
    if arguments is not None:
        saved = pathlib.Path(settings["output_folder"], "hyperparams.yaml")
        before = read_saved_arguments(saved)
        changed += [
            f"{place} {before.get(place, _DEFAULT)} -> "
            f"{arguments.get(place, _DEFAULT)}"
            for place in {**before, **arguments}
            if before.get(place, _DEFAULT) != arguments.get(place, _DEFAULT)
        ]
    if changed:
        logger.info(
            "Going on with the run in %s, with other settings than it was "
            "started with: %s.",
            settings["output_folder"],
            ", ".join(changed),
        )
