"""Export a trained encoder to a folder that plain SpeechBrain loads.

The folder holds `hyperparams.yaml`, which names classes of SpeechBrain and
PyTorch only, the weights in SpeechBrain's files, a model card (`README.md`),
and what `SpeakerEncoder.from_export` reads besides (`speaker_encoder.json`).
"""

from __future__ import annotations

import copy
import csv
import datetime
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import contextmanager
from typing import Any

import ruamel.yaml
import torch
from hyperpyyaml import resolve_references
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.atomic_write import flush
from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.dataio.augmentation.folders import (
    SIMULATED_ROOMS,
    SYNTHETIC_NOISE,
)
from ssps_plugin.evaluation.error_rates import detection_curve
from ssps_plugin.evaluation.results import (
    History,
    package_commit,
    package_version,
)
from ssps_plugin.evaluation.trial_list import read_trials
from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.pretrained.model_card import write_card
from ssps_plugin.pretrained.thresholds import (
    THRESHOLDS,
    find_results,
    find_thresholds,
)
from ssps_plugin.pretrained.trained_run import (
    CONFIGURATION,
    EXPORT_DETAILS,
    FRONT_END,
    FRONT_END_KEY,
    TrainedRun,
    Weights,
    kept_random_states,
    load_run,
)
from ssps_plugin.training.configuration import read_saved_strategy
from ssps_plugin.training.settings import is_path, tag_of

logger = get_logger(__name__)

#: Of the format of `speaker_encoder.json`.
FORMAT = 1
# Names of the parts in our YAML files and in SpeechBrain's.
_PARTS = {
    "features": "compute_features",
    "normalization": "mean_var_norm",
    "encoder": "embedding_model",
}
_OWN_FEATURES = {
    "ssps_plugin.frameworks.Fbank",
    "ssps_plugin.frameworks.features.Fbank",
}
_USUAL_WINDOW = "torch.hamming_window"
# What plain SpeechBrain can build, wherever it is installed.
_COMMON_PACKAGES = ("speechbrain", "torch", "torchaudio", "builtins")
# Arguments of Hugging Face models that name a folder for downloads.
_CACHE_ARGUMENTS = {"save_path", "cache_dir"}
# Files that an export makes, and those that are out of date after the next.
_EXPORTED = (CONFIGURATION, EXPORT_DETAILS, "README.md", FRONT_END)
_STALE_SUFFIXES = {".ckpt", ".onnx", ".pt2", ".pt", ".tmp"}
# Rounding of other kernels; a wrong export differs by far more.
_LARGEST_DIFFERENCE = 1e-4
_CHECKED_SECONDS = (0.5, 1.3, 3.0)


def export_run(
    run: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    weights: Weights = "averaged",
    overwrite: bool = False,
) -> pathlib.Path:
    """Export the encoder of a run to a folder that plain SpeechBrain loads.

    `SpeakerRecognition.from_hparams(source=folder)` and
    `EncoderClassifier.from_hparams(source=folder)` need nothing of this
    package. What is exported is the encoder that is verified (the teacher of
    DINO), without heads and without score normalisation.

    Arguments
    ---------
    run : str or os.PathLike
        The run's output folder. Nothing in it is changed.
    folder : str or os.PathLike
        A new or empty folder. It appears whole or not at all.
    weights : str or int
        `"averaged"` over the last epochs, as the run's results are; `"best"`,
        the epoch with the lowest error rate in training; `"last"`; or an epoch
        whose snapshot was kept.
    overwrite : bool
        Replace an export that is there. Files that are not an export's stay.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        The folder is there, and is not to be replaced.
    FileNotFoundError
        There is no run, no checkpoint, or no snapshot of that epoch.
    ValueError
        The model has a part that plain SpeechBrain cannot build; the message
        says which.
    RuntimeError
        A checkpoint is damaged, or the export gives other embeddings.
    """
    check_new_folder(folder, overwrite)
    trained = load_run(run, weights)
    description = (trained.folder / CONFIGURATION).read_text(encoding="utf-8")
    return write_export(
        folder,
        trained.embedding_model,
        description,
        describe_run(trained),
        overwrite=overwrite,
    )


def write_export(
    folder: str | os.PathLike[str],
    model: EmbeddingModel,
    description: str,
    details: Mapping[str, Any],
    *,
    overwrite: bool = False,
    own_classes: bool = False,
) -> pathlib.Path:
    """Write an export of any embedding model.

    Arguments
    ---------
    folder : str or os.PathLike
        As for `export_run`.
    model : EmbeddingModel
        On the CPU, in eval mode.
    description : str
        YAML text with the keys `features`, `normalization` and `encoder`, as
        in the files of `hparams/`; other keys are left out.
    details : mapping
        What the model card and `speaker_encoder.json` say: plain values, of
        which `sample_rate` is needed. See `describe_run`.
    overwrite : bool
        As for `export_run`.
    own_classes : bool
        Allow classes of this package too, which plain SpeechBrain needs then.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    path = check_new_folder(folder, overwrite)
    rate = int(details.get("sample_rate", SAMPLE_RATE))
    with torch.no_grad():
        dim = int(model(torch.zeros(1, rate)).shape[1])
    details = {
        "format": FORMAT,
        "created": datetime.date.today().isoformat(),
        "package_version": package_version(),
        "git_commit": package_commit(),
        "embedding_dim": dim,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        **details,
        "sample_rate": rate,
    }
    states = _collect_states(model, dim)
    front_end = path / FRONT_END
    text, copied = make_configuration(
        description,
        rate,
        dim,
        list(states),
        front_end,
        (*_COMMON_PACKAGES, "ssps_plugin") if own_classes else _COMMON_PACKAGES,
    )
    if copied is not None:
        details["front_end"] = FRONT_END
    with _new_folder(path) as temporary:
        (temporary / CONFIGURATION).write_text(text, encoding="utf-8")
        if copied is not None:
            _copy_files(copied, temporary / FRONT_END)
        for name, state in states.items():
            torch.save(state, temporary / f"{name}.ckpt")
        (temporary / EXPORT_DETAILS).write_text(
            json.dumps(_finite(details), indent=2, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        write_card(temporary / "README.md", details)
        with kept_random_states():
            _check_same_embeddings(temporary, model, rate)
    logger.info("Exported to %s", path)
    return path


# -- what a run says about itself ------------------------------------------


def describe_run(run: TrainedRun) -> dict[str, Any]:
    """Collect what is known about a run's model, as plain values.

    Arguments
    ---------
    run : TrainedRun
        The run, loaded.

    Returns
    -------
    dict
        `name`, `framework`, `encoder`, `strategy`, `weights`, `epochs`,
        `averaged_epochs`, `coverage`, `sample_rate`, `settings`, `corpus`,
        `results` (with thresholds of its cosines, empty if there are none),
        `missing_threshold`, `all_results`, and of a best epoch what training
        has measured, `verified_in_training`. No path of this machine is in it.
    """
    loaded, settings = run.loaded, run.settings
    thresholds = find_thresholds(
        run.folder, loaded.epochs, loaded.averaged_epochs
    )
    all_results = find_results(
        run.folder, loaded.epochs, loaded.averaged_epochs
    )
    results = {}
    if thresholds.results:
        rates = _rates_at_thresholds(run.folder, thresholds.results)
        results = _without_paths(thresholds.results) | {"rates": rates}
    row = History(run.folder / "history.json").at(loaded.epochs)
    rates_in_training = {
        key: value
        for key, value in row.items()
        if key.startswith(("eer", "min_dcf"))
    }
    return {
        "name": str(settings.get("experiment", run.folder.name)),
        "framework": run.framework,
        "encoder": type(run.embedding_model.encoder).__name__,
        "strategy": read_saved_strategy(run.folder / "hyperparams.yaml"),
        "draws_in_another_space": bool(settings.get("reference_encoder")),
        "weights": loaded.weights,
        "epochs": loaded.epochs,
        "averaged_epochs": loaded.averaged_epochs,
        "coverage": loaded.coverage,
        "sample_rate": run.sample_rate,
        "corpus": _describe_corpus(run),
        "results": results,
        "missing_threshold": None if results else thresholds.missing,
        "all_results": [_without_paths(one) for one in all_results],
        "verified_in_training": rates_in_training,
        "settings": {
            key: value
            for key, value in settings.items()
            if not is_path(key) and key != "overlay"
        },
    }


def _without_paths(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results without folders of this machine."""
    kept = {k: v for k, v in results.items() if k != "results_file"}
    for key in ("trial_list", "config", "reference_encoder"):
        paths = kept.get(key)
        if isinstance(paths, list):
            kept[key] = [pathlib.PurePath(path).name for path in paths]
        elif paths:
            kept[key] = pathlib.PurePath(paths).name
    return kept


def _describe_corpus(run: TrainedRun) -> dict[str, Any]:
    """Name the corpus that was trained on, and count what is in it."""
    settings = run.settings
    folders = settings.get("data_folder")
    names = folders if isinstance(folders, list) else [folders]
    made = {SYNTHETIC_NOISE: "made_noise", SIMULATED_ROOMS: "made_rir"}
    corpus: dict[str, Any] = {
        "name": ", ".join(pathlib.PurePath(str(n)).name for n in names if n),
        "is_minivox": folders is not None
        and folders == settings.get("minivox_folder"),
        "augmented": [
            made.get(settings[key], key.removesuffix("_folder"))
            for key in ("noise_folder", "rir_folder")
            if settings.get(key)
        ],
    }
    manifest = pathlib.Path(str(settings.get("train_manifest", "train.csv")))
    beside = run.folder / manifest.name
    manifest = beside if beside.is_file() else manifest
    try:
        with open(manifest, newline="", encoding="utf-8") as file:
            seconds = [float(row["duration"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError):
        return corpus
    hours = sum(seconds) / 3600
    return {**corpus, "num_utterances": len(seconds), "hours": hours}


def _rates_at_thresholds(
    folder: pathlib.Path, results: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Return both error rates at each threshold, where scores are at hand."""
    if "results_file" not in results:
        return {}
    scores = pathlib.Path(results["results_file"]).parent / "scores.txt"
    trial_list = pathlib.Path(str(results.get("trial_list")))
    beside = folder / trial_list.name
    path = beside if beside.is_file() else trial_list
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != results.get("trial_list_sha256"):
            return {}  # another list of that name
        labels = read_trials(path).labels
        if labels is None:
            return {}
        lines = scores.read_text(encoding="utf-8").splitlines()
        values = [float(line.split(maxsplit=1)[0]) for line in lines]
        curve = detection_curve(values, labels)
    except (OSError, ValueError, TypeError, IndexError):
        return {}
    rates = {}
    for name, key in THRESHOLDS.items():
        threshold = results.get(key)
        if threshold is not None:
            point = int((curve.thresholds >= threshold).sum()) - 1
            rates[name] = {
                "false_acceptance": float(curve.false_alarm_rate[point]),
                "false_rejection": float(curve.miss_rate[point]),
            }
    return rates


def _finite(value: Any) -> Any:
    """Write infinite settings as text: JSON has no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# -- hyperparams.yaml ------------------------------------------------------


def make_configuration(
    description: str,
    sample_rate: int,
    dim: int,
    loadables: list[str],
    front_end: pathlib.Path,
    packages: Collection[str] = _COMMON_PACKAGES,
) -> tuple[str, str | None]:
    """Write the `hyperparams.yaml` of an export.

    Arguments
    ---------
    description : str
        YAML text with `features`, `normalization` and `encoder`.
    sample_rate : int
        Samples per second that the model takes.
    dim : int
        Length of an embedding.
    loadables : list of str
        The modules that have a file of weights or statistics.
    front_end : pathlib.Path
        Where the folder of a Hugging Face model will be, if one is named.
    packages : collection of str
        Those whose classes may be named.

    Returns
    -------
    str
        The text, with classes of SpeechBrain and PyTorch only.
    str or None
        The folder of a Hugging Face model that the export needs a copy of.

    Raises
    ------
    ValueError
        A part is missing, or is of another class.

    Example
    -------
    >>> text = '''
    ... features: !new:ssps_plugin.frameworks.Fbank {n_mels: 40}
    ... normalization: !new:torch.nn.Identity
    ... encoder: !new:my.Encoder
    ... '''
    >>> there = pathlib.Path("front_end")
    >>> make_configuration(text, 16000, 8, [], there)  # +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: Expected classes of SpeechBrain and PyTorch, ... my.Encoder ...
    """
    parts = _read_parts(description)
    tree = _tagged(None, sample_rate=sample_rate, embedding_dim=dim)
    parts["features"], window = _plain_features(parts["features"])
    copied = [found for part in parts.values() for found in _use_copy(part)]
    if len(set(copied)) > 1:
        raise ValueError(
            "Expected at most one folder of a pre-trained model to export, got "
            f"{', '.join(copied)}: export is not made for that."
        )
    if copied:
        tree[FRONT_END_KEY] = str(front_end)
    for name, key in _PARTS.items():
        _check_classes(parts[name], name, packages)
        tree[key] = parts[name]
    if window is not None:
        _check_classes(window, "features", packages)
        tree["window_of_features"] = window
    tree["mean_var_norm_emb"] = _tagged(
        "!new:speechbrain.processing.features.InputNormalization",
        norm_type="global",
        std_norm=False,
    )
    tree["classifier"] = _tagged("!new:torch.nn.Identity")
    tree["audio_normalizer"] = _tagged(
        "!new:speechbrain.dataio.preprocess.AudioNormalizer",
        sample_rate=sample_rate,
    )
    names = [*_PARTS.values(), "mean_var_norm_emb", "classifier"]
    tree["modules"] = _tagged(None, **{n: _reference(n) for n in names})
    tree["pretrainer"] = _tagged(
        "!new:speechbrain.utils.parameter_transfer.Pretrainer",
        loadables=_tagged(None, **{n: _reference(n) for n in loadables}),
    )
    text = io.StringIO()
    yaml = ruamel.yaml.YAML()
    yaml.indent(mapping=4, sequence=6, offset=4)
    yaml.dump(tree, text)
    loader = "SpeechBrain alone loads it"
    if "ssps_plugin." in text.getvalue():
        loader = "SpeechBrain loads it where ssps_plugin is installed"
    header = _HEADER.format(loader=loader)
    return f"{header}\n{text.getvalue()}", next(iter(copied), None)


_HEADER = """\
# A speaker encoder, exported by ssps_plugin. {loader}:
#     SpeakerRecognition.from_hparams(source="the folder of this file")
"""


def _read_parts(description: str) -> dict[str, Any]:
    """Return the nodes of the three parts, without comments and references.

    Raises
    ------
    ValueError
        One is missing.
    """
    resolved = resolve_references(io.StringIO(description))
    tree = ruamel.yaml.YAML().load(resolved)
    source = tree = tree if isinstance(tree, Mapping) else {}
    model = tree.get("embedding_model")
    if isinstance(model, Mapping) and all(name in model for name in _PARTS):
        source = model  # what it is made of, whatever the keys are called
    missing = [name for name in _PARTS if tag_of(source.get(name)) is None]
    if missing:
        raise ValueError(
            f"Expected the keys {', '.join(_PARTS)} to describe objects "
            f"(!new:…), got none for {', '.join(missing)}: change "
            "hyperparams.yaml."
        )
    return {name: _plain_copy(source[name]) for name in _PARTS}


def _plain_copy(node: Any) -> Any:
    """Copy a node without its comments and anchors."""
    if isinstance(node, Mapping):
        copied = _tagged(tag_of(node))
        for key, value in node.items():
            copied[key] = _plain_copy(value)
        return copied
    if isinstance(node, list):
        is_flat = all(isinstance(one, (int, float, str)) for one in node)
        return _tagged_list(tag_of(node), map(_plain_copy, node), is_flat)
    return copy.deepcopy(node)


def _plain_features(node: Any) -> tuple[Any, Any]:
    """Replace our Fbank by SpeechBrain's, which gives the same bits.

    Returns
    -------
    node
        The features; those that are no Fbank of ours stay.
    node or None
        What sets another window than SpeechBrain's, which has no argument for
        it.
    """
    tag = tag_of(node) or ""
    if tag.removeprefix("!new:") not in _OWN_FEATURES:
        return node, None
    window = node.get("window")
    arguments = {key: node[key] for key in node if key != "window"}
    features = _tagged("!new:speechbrain.lobes.features.Fbank", **arguments)
    if window is None or tag_of(window) == f"!name:{_USUAL_WINDOW}":
        return features, None
    options = {"sample_rate": 16000, "n_fft": 400}
    options |= {"win_length": 25, "hop_length": 10}
    stft = _tagged(
        "!new:speechbrain.processing.features.STFT",
        **{key: node.get(key, default) for key, default in options.items()},
        window_fn=window,
    )
    setter = [_reference("compute_features"), "compute_STFT", stft]
    return features, _tagged_list("!apply:builtins.setattr", setter, False)


def _check_classes(node: Any, key: str, packages: Collection[str]) -> None:
    """Check that plain SpeechBrain can build a node.

    Raises
    ------
    ValueError
        It names a class or a function of another package.
    """
    tag = tag_of(node) or ""
    kind, _, name = tag.partition(":")
    package = name.partition(".")[0]
    if kind in ("!new", "!name", "!apply") and package not in packages:
        raise ValueError(
            "Expected classes of SpeechBrain and PyTorch, which plain "
            f"SpeechBrain can build, got {name} as {key} (or in it): change "
            f"{key} and train again, or use the run itself "
            "(SpeakerEncoder.from_run)."
        )
    if isinstance(node, Mapping):
        for value in node.values():
            _check_classes(value, key, packages)
    elif isinstance(node, list):
        for value in node:
            _check_classes(value, key, packages)


def _use_copy(node: Any) -> Iterator[str]:
    """Let a Hugging Face model be read from its copy; yield where it is."""
    if not isinstance(node, MutableMapping):
        return
    for key, value in node.items():
        if isinstance(value, str):
            if os.path.isfile(os.path.join(value, "config.json")):
                node[key] = _reference(FRONT_END_KEY)
                yield os.path.abspath(value)
            elif key in _CACHE_ARGUMENTS:
                node[key] = ""  # a folder of this machine
        else:
            yield from _use_copy(value)


def _tagged(tag: str | None, **arguments: Any) -> Any:
    """Make a mapping with a tag, as ruamel.yaml reads it."""
    # Read, since how a tag is set differs between versions of ruamel.yaml.
    node = ruamel.yaml.YAML().load(f"{tag or ''} {{}}")
    node.fa.set_block_style()
    node.update(arguments)
    return node


def _tagged_list(tag: str | None, items: Iterable[Any], in_line: bool) -> Any:
    node = ruamel.yaml.YAML().load(f"{tag or ''} []")
    if not in_line:
        node.fa.set_block_style()
    node.extend(items)
    return node


def _reference(name: str) -> Any:
    return ruamel.yaml.YAML().load(f"!ref <{name}>")


def _copy_files(source: str, target: pathlib.Path) -> None:
    """Copy the files of a folder, but not its subfolders."""
    target.mkdir()
    for path in sorted(pathlib.Path(source).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, target / path.name)


# -- weights ---------------------------------------------------------------


def _collect_states(model: EmbeddingModel, dim: int) -> dict[str, Any]:
    """Return weights and statistics by the module that loads them."""
    states: dict[str, Any] = {
        "embedding_model": _copied_state(model.encoder),
        # So that encode_batch(normalize=True) changes nothing.
        "mean_var_norm_emb": {
            "count": 1,
            "glob_mean": torch.zeros(dim),
            "glob_std": torch.ones(dim),
        },
    }
    if any(True for _ in model.features.parameters()):
        states["compute_features"] = _copied_state(model.features)
    statistics = getattr(model.normalization, "_statistics_dict", None)
    if statistics is None:
        if model.normalization.state_dict():
            states["mean_var_norm"] = _copied_state(model.normalization)
    elif getattr(model.normalization, "norm_type", "") == "global":
        states["mean_var_norm"] = statistics()
    return states


def _copied_state(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().cpu().clone()
        for name, value in module.state_dict().items()
    }


def _check_same_embeddings(
    folder: pathlib.Path, model: EmbeddingModel, sample_rate: int
) -> None:
    """Check that what was written gives the embeddings of the model.

    Raises
    ------
    RuntimeError
        It does not.
    """
    from speechbrain.inference.classifiers import EncoderClassifier

    overrides = {}
    if (folder / FRONT_END).is_dir():
        overrides[FRONT_END_KEY] = str(folder / FRONT_END)
    loaded = EncoderClassifier.from_hparams(
        source=str(folder), overrides=overrides, run_opts={"device": "cpu"}
    )
    generator = torch.Generator().manual_seed(0)
    for seconds in _CHECKED_SECONDS:
        samples = round(seconds * sample_rate)
        wavs = 0.1 * torch.randn(2, samples, generator=generator)
        embeddings = []
        for embed in (model, loaded.encode_batch):
            torch.manual_seed(0)  # x-vectors' pooling adds noise
            with torch.no_grad():
                embeddings.append(embed(wavs).flatten(1))
        expected, found = embeddings
        scale = expected.norm(dim=1).max().clamp(min=1e-12)
        difference = float((found - expected).abs().max() / scale)
        if not difference < _LARGEST_DIFFERENCE:
            raise RuntimeError(
                "Expected the export to give the embeddings of the run, got "
                f"ones that differ by {difference:.1e} of their norm: a part "
                "of the model does not load what was saved of it. Nothing was "
                "exported."
            )


# -- the folder ------------------------------------------------------------


def check_new_folder(
    folder: str | os.PathLike[str], overwrite: bool = False
) -> pathlib.Path:
    """Check that an export may be written to a folder.

    Raises
    ------
    FileExistsError
        It is there, and is not to be replaced, or is no export.
    """
    path = pathlib.Path(os.path.abspath(folder))
    if not os.path.lexists(path):
        return path
    if not path.is_dir():
        raise FileExistsError(
            f"Expected a new folder to export to, got {path}, which is a "
            "file: change the folder."
        )
    names = sorted(one.name for one in path.iterdir())
    if not names:
        return path
    if EXPORT_DETAILS not in names:
        raise FileExistsError(
            f"Expected a new folder to export to, got {path}, which is no "
            f"export and holds {len(names)} files ({', '.join(names[:3])}): "
            "change the folder."
        )
    if not overwrite:
        raise FileExistsError(
            f"Expected a new folder to export to, got {path}, where an export "
            "is already: change the folder, or overwrite it."
        )
    return path


@contextmanager
def _new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Fill a folder beside `path` that takes its place once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    before = path.with_name(f".{path.name}.{os.getpid()}.before")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        if path.is_dir():
            _keep_others(path, temporary)
        for file in temporary.rglob("*"):
            flush(file)
        if path.is_dir():
            os.replace(path, before)
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException:
        if before.is_dir() and not path.exists():
            os.replace(before, path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _keep_others(old: pathlib.Path, new: pathlib.Path) -> None:
    """Copy what is no export's into its successor, such as `.git`."""
    for path in old.iterdir():
        is_stale = path.suffix in _STALE_SUFFIXES or path.name in _EXPORTED
        if is_stale or (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
