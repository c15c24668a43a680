"""Bring in the weights of other toolkits, as an export of ours.

Nothing of what is brought in is executed: weights are read as tensors, the
architecture is found by their names and shapes, and of a `hyperparams.yaml`
beside them the settings of known classes are read.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ruamel.yaml
import torch
import torchaudio.functional
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.logger import get_logger
from torch import Tensor

from ssps_plugin.dataio.audio import SAMPLE_RATE
from ssps_plugin.frameworks import EmbeddingModel
from ssps_plugin.frameworks.architectures import Architecture
from ssps_plugin.pretrained.export import (
    check_new_folder,
    export_run,
    write_export,
)
from ssps_plugin.pretrained.trained_run import (
    CONFIGURATION,
    EXPORT_DETAILS,
    is_run_folder,
    kept_random_states,
)
from ssps_plugin.training.checkpoints import sha256_of
from ssps_plugin.training.settings import tag_of
from ssps_plugin.training.weights import (
    ImportReport,
    Weights,
    check_weights,
    find_networks,
    load_weights,
    read_weights,
)

__all__ = ["ImportReport", "check_weights", "import_weights", "load_weights"]

logger = get_logger(__name__)

_FBANK = "speechbrain.lobes.features.Fbank"
_SENTENCE = "speechbrain.processing.features.InputNormalization"
_LOG_MEL = "ssps_plugin.frameworks.LogMelSpectrogram"
_INSTANCE = "ssps_plugin.frameworks.InstanceNormalization"
_FAST_RESNET = "ssps_plugin.frameworks.FastResNet34"
# Names of the parts in SpeechBrain's pre-trained models, and in our files.
_PARTS = {
    "features": ("compute_features", "features"),
    "normalization": ("mean_var_norm", "normalization"),
    "encoder": ("embedding_model", "encoder"),
}
# Layers of SpeechBrain's around torch's, in the names of weights.
_WRAPPED = re.compile(r"(conv\.conv|norm\.norm|fc\.conv|w)\.(weight|bias)$")
_SNAPSHOT = re.compile(r"epoch_(\d+)-[0-9a-f]+\.ckpt")
_WINDOWS = {
    "torch.hamming_window": torch.hamming_window,
    "torch.hann_window": torch.hann_window,
}
# What the authors' configurations may call these; lengths are in samples.
_PUBLISHED_KEYS = {
    "n_mels": re.compile(r"(^|_)(n_mels|num_mels|nmels)$"),
    "n_fft": re.compile(r"(^|_)n_?fft$"),
    "sample_rate": re.compile(r"(^|_)sample_rate$"),
    "win_length": re.compile(r"(^|_)win_length$"),
    "hop_length": re.compile(r"(^|_)hop_length$"),
    "window": re.compile(r"(^|_)(win_fn|window_fn|window)$"),
}


@dataclass
class _Part:
    """A class by its dotted name, and its arguments."""

    class_name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def describe(self, key: str) -> str:
        """Return it as YAML, as the files in `hparams/` have it."""
        lines = [f"{key}: !new:{self.class_name}"]
        for name, value in self.arguments.items():
            is_tagged = isinstance(value, str) and value.startswith("!name:")
            text = value if is_tagged else json.dumps(value)
            lines.append(f"    {name}: {text}")
        return "\n".join(lines) + "\n"


def import_weights(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    front_end: str = "auto",
    overwrite: bool = False,
) -> pathlib.Path:
    """Bring in weights, and write them as an export.

    `SpeakerEncoder.from_export(folder)` loads it, and so do the commands
    embed, compare and score. There is no threshold, since nothing is known
    about trials: `ssps_plugin` says so where one is asked for.

    Arguments
    ---------
    source : str or os.PathLike
        SpeechBrain's `embedding_model.ckpt`, or the folder of a pre-trained
        model of theirs; the authors' `.pt`, or its folder; another state dict
        of ECAPA-TDNN, SpeechBrain's ResNet and x-vector, or Fast ResNet-34; a
        run, a snapshot of one, or an export, which are exported.
    folder : str or os.PathLike
        A new or empty folder.
    prefix : str, optional
        As for `load_weights`.
    front_end : str
        `"speechbrain"`, `"authors"`, or `"auto"`: by the names of the weights.
        A `hyperparams.yaml` of SpeechBrain's goes before.
    overwrite : bool
        Replace an export that is there.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        The folder is there, and is not to be replaced.
    FileNotFoundError
        There are no weights.
    ValueError
        They are of no known architecture, or need code to be executed.
    """
    if front_end not in ("auto", "speechbrain", "authors"):
        raise ValueError(
            "Expected front_end 'auto', 'speechbrain' or 'authors', got "
            f"{front_end!r}: change front_end."
        )
    check_new_folder(folder, overwrite)
    path = pathlib.Path(source)
    own = _export_own(path, folder, overwrite)
    if own is not None:
        return own
    weights = read_weights(source)
    start, architecture = _find_architecture(weights, prefix)
    parts = _find_parts(weights, start, architecture, front_end)
    description = "".join(part.describe(key) for key, part in parts.items())
    with kept_random_states():
        built = load_hyperpyyaml(description)
    model = EmbeddingModel(*(built[name] for name in parts))
    report = load_weights(model, weights.path, prefix)
    logger.info("%s", report)
    model.eval().requires_grad_(False)
    return write_export(
        folder,
        model,
        description,
        _describe(path, weights, parts),
        overwrite=overwrite,
        own_classes=True,
    )


def _describe(
    source: pathlib.Path, weights: Weights, parts: Mapping[str, _Part]
) -> dict[str, Any]:
    features = parts["features"]
    name, origin = source.stem, weights.path.name
    if source.is_dir():
        name = source.resolve().name
        origin = f"{name}/{origin}"
    return {
        "name": name,
        "encoder": parts["encoder"].class_name.rpartition(".")[2],
        "imported_from": origin,
        "imported_sha256": sha256_of(weights.path),
        "front_end_class": features.class_name.rpartition(".")[2],
        "sample_rate": features.arguments.get("sample_rate", SAMPLE_RATE),
        "needs_package": any(
            part.class_name.startswith("ssps_plugin.")
            for part in parts.values()
        ),
        "missing_threshold": (
            "the weights were brought in, and nothing is known about trials"
        ),
    }


# -- what is ours already --------------------------------------------------


def _export_own(
    path: pathlib.Path, folder: str | os.PathLike[str], overwrite: bool
) -> pathlib.Path | None:
    """Export a run or a snapshot, copy an export; None if it is neither."""
    if (path / EXPORT_DETAILS).is_file():
        return _copy_export(path, check_new_folder(folder, overwrite))
    for run in (path, path.parent):
        if path.is_dir() and is_run_folder(run):
            if path != run and path.name not in ("save", "snapshots"):
                break
            return export_run(run, folder, overwrite=overwrite)
    match = _SNAPSHOT.fullmatch(path.name)
    run = path.parent.parent
    if match and path.is_file() and is_run_folder(run):
        epoch = int(match[1])
        return export_run(run, folder, weights=epoch, overwrite=overwrite)
    run = path.resolve().parent.parent
    if path.name.startswith("CKPT+") and is_run_folder(run):
        raise ValueError(
            f"Expected a run, or weights of another toolkit, got {path}, a "
            f"checkpoint of the run in {run}, which does not say what features "
            f"it was trained on: give {run}."
        )
    return None


def _copy_export(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    if source.resolve() == target.resolve():
        raise FileExistsError(
            f"Expected another folder than {source}, where the export is "
            "already: change the folder."
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


# -- what the weights are of -----------------------------------------------


def _find_architecture(
    weights: Weights, prefix: str | None
) -> tuple[str, Architecture]:
    """Return a prefix of names, and the architecture of what is under it.

    Raises
    ------
    ValueError
        Nothing is of a known architecture, or several things are.
    """
    networks = find_networks(weights)
    if prefix is not None:
        wanted = f"{prefix.removesuffix('.')}." if prefix else ""
        networks = {p: a for p, a in networks.items() if p == wanted}
    if not networks:
        names = [name for name in weights.tensors if "." in name]
        shown = ", ".join((names or list(weights.tensors))[:4])
        where = f" under {prefix}" if prefix else ""
        raise ValueError(
            "Expected weights of ECAPA_TDNN, ResNet, Xvector (SpeechBrain's) "
            f"or FastResNet34, got others{where} in {weights.path} ({shown}, "
            "…): their names or shapes are of another architecture. "
            "load_weights(encoder, source) loads them into an encoder of your "
            "own."
        )
    kinds = {json.dumps(a.arguments) for a in networks.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"Expected one network in {weights.path}, got {len(networks)} of "
            f"other sizes, under {', '.join(networks)}: name one of them by "
            "prefix."
        )
    return next(iter(networks.items()))


def _find_parts(
    weights: Weights, prefix: str, architecture: Architecture, front_end: str
) -> dict[str, _Part]:
    """Find features, normalisation and encoder of weights."""
    encoder = _Part(architecture.class_name, dict(architecture.arguments))
    described = _read_speechbrain(weights.path.parent, architecture)
    if described and front_end != "authors":
        return {name: described.get(name, encoder) for name in _PARTS}
    if front_end == "auto":
        is_theirs = _is_of_speechbrain(weights, prefix, architecture)
        front_end = "speechbrain" if is_theirs else "authors"
    if front_end == "authors":
        features = _authors_features(weights, architecture)
        if architecture.class_name == _FAST_RESNET:
            encoder.arguments["input_size"] = features.arguments["n_mels"]
        normalization = _Part(_INSTANCE)
    else:
        logger.warning(
            "There is no %s beside %s, so its features are taken to be those "
            "of SpeechBrain's pre-trained encoders: Fbank with %d bands, the "
            "mean subtracted.",
            CONFIGURATION,
            weights.path,
            architecture.input_size,
        )
        features = _Part(_FBANK, {"n_mels": architecture.input_size})
        arguments = {"norm_type": "sentence", "std_norm": False}
        normalization = _Part(_SENTENCE, arguments)
    return {
        "features": features,
        "normalization": normalization,
        "encoder": encoder,
    }


def _is_of_speechbrain(
    weights: Weights, prefix: str, architecture: Architecture
) -> bool:
    """Whether the names are SpeechBrain's, and not the same without wrappers.

    Its ResNet and x-vector are known by names that nobody else has.
    """
    if not architecture.name.startswith("ECAPA"):
        return architecture.class_name != _FAST_RESNET
    names = [name for name in weights.tensors if name.startswith(prefix)]
    return any(map(_WRAPPED.search, names))


# -- SpeechBrain's hyperparams.yaml ----------------------------------------


def _read_speechbrain(
    folder: pathlib.Path, architecture: Architecture
) -> dict[str, _Part]:
    """Read the parts of a pre-trained model, if their file is in a folder.

    Raises
    ------
    ValueError
        The features are of a class that is not known.
    """
    path = folder / CONFIGURATION
    if not path.is_file():
        return {}
    try:
        tree = ruamel.yaml.YAML().load(path.read_text(encoding="utf-8"))
    except (ruamel.yaml.error.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected a YAML file at {path}, got what is none ({reason}): "
            "repair it, or give the file of the weights from another folder."
        ) from None
    if not isinstance(tree, Mapping):
        return {}
    parts = {}
    allowed = {
        "features": {_FBANK, "ssps_plugin.frameworks.Fbank", _LOG_MEL},
        "normalization": {_SENTENCE, _INSTANCE},
        "encoder": {architecture.class_name},
    }
    for part, keys in _PARTS.items():
        node = next((tree[key] for key in keys if key in tree), None)
        class_name = (tag_of(node) or "").removeprefix("!new:")
        if node is None or (
            part == "encoder" and class_name not in allowed[part]
        ):
            continue  # shapes say what it is
        if class_name not in allowed[part]:
            raise ValueError(
                f"Expected {part} of a known class ("
                f"{', '.join(sorted(allowed[part]))}) in {path}, got "
                f"{class_name or 'none'}: nothing else in it is built, since "
                "that would execute it. Load it by SpeechBrain's own "
                "from_hparams, if you trust it."
            )
        arguments = dict(_plain_arguments(tree, node, path))
        parts[part] = _Part(class_name, arguments)
    if not {"features", "normalization"} <= parts.keys():
        return {}
    return {name: parts[name] for name in _PARTS if name in parts}


def _plain_arguments(
    tree: Mapping[str, Any], node: Any, path: pathlib.Path
) -> Iterator[tuple[str, Any]]:
    """Yield an object's arguments: plain values, and functions of torch.

    Raises
    ------
    ValueError
        An argument is something else.
    """
    for name, value in node.items() if isinstance(node, Mapping) else ():
        seen: set[str] = set()
        while tag_of(value) == "!ref":
            key = re.fullmatch(r"<(\w+)>", str(value.value).strip())
            if key is None or key[1] in seen or key[1] not in tree:
                break
            seen.add(key[1])
            value = tree[key[1]]
        tag = tag_of(value)
        if tag is not None and tag.startswith("!name:torch."):
            yield name, tag
        elif tag is None and _is_plain(value):
            yield name, _as_plain(value)
        else:
            raise ValueError(
                f"Expected a plain value for {name} in {path}, got "
                f"{tag or value}: nothing else in it is built, since that "
                "would execute it."
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _as_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_plain(one) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


# -- the authors' front end ------------------------------------------------


def _authors_features(weights: Weights, architecture: Architecture) -> _Part:
    """Return their features, as far as files and buffers say what they are."""
    found: dict[str, Any] = {"n_mels": architecture.input_size}
    written = _read_published_settings(weights.path)
    if architecture.class_name != _FAST_RESNET:
        written.pop("n_mels", None)  # shapes say it
    found |= written
    rate = found.get("sample_rate", SAMPLE_RATE)
    for name, tensor in weights.tensors.items():
        if name.endswith("spectrogram.window") and tensor.dim() == 1:
            found["win_length"] = 1000 * len(tensor) / rate
            found |= _find_window(tensor)
        elif name.endswith("mel_scale.fb") and tensor.dim() == 2:
            found["n_fft"] = 2 * (tensor.shape[0] - 1)
            found["n_mels"] = tensor.shape[1]
            found |= _find_mel_scale(tensor, rate)
    return _Part(_LOG_MEL, {"sample_rate": SAMPLE_RATE, **found})


def _find_window(samples: Tensor) -> dict[str, str]:
    for name, function in _WINDOWS.items():
        if torch.allclose(samples.float(), function(len(samples)), atol=1e-5):
            return {"window": f"!name:{name}"}
    logger.warning(
        "The window in the weights is neither Hamming's nor Hann's: Hamming's "
        "is used, and embeddings may differ."
    )
    return {}


def _find_mel_scale(filters: Tensor, rate: int) -> dict[str, Any]:
    num_bins, num_mels = filters.shape
    for scale in ("htk", "slaney"):
        for norm in (None, "slaney"):
            ours = torchaudio.functional.melscale_fbanks(
                num_bins, 0.0, rate / 2, num_mels, rate, norm, scale
            )
            if torch.allclose(filters.float(), ours, atol=1e-5):
                return {"mel_scale": scale, "norm": norm}
    logger.warning(
        "The mel filters in the weights are not from 0 Hz to half of the "
        "sample rate: those are used, and embeddings may differ."
    )
    return {}


def _read_published_settings(path: pathlib.Path) -> dict[str, Any]:
    """Read settings of the features from a YAML file beside weights, if any."""
    for folder in (path.parent, path.parent.parent):
        files = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")])
        files = [one for one in files if one.name != CONFIGURATION]
        if len(files) != 1:
            continue
        try:
            text = files[0].read_text(encoding="utf-8")
            tree = ruamel.yaml.YAML(typ="safe", pure=True).load(text)
        except (ruamel.yaml.error.YAMLError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            logger.warning("%s is not read: %s", files[0], reason)
            return {}
        return _settings_in(tree)
    return {}


def _settings_in(tree: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _leaves(tree):
        for name, pattern in _PUBLISHED_KEYS.items():
            if pattern.search(key):
                found.setdefault(name, value)
    settings: dict[str, Any] = {
        name: int(found[name])
        for name in ("n_mels", "n_fft", "sample_rate")
        if isinstance(found.get(name), int)
    }
    rate = settings.get("sample_rate", SAMPLE_RATE)
    for name in ("win_length", "hop_length"):
        if isinstance(found.get(name), int):
            settings[name] = 1000 * found[name] / rate
    for name in _WINDOWS:
        kind = name.removeprefix("torch.").removesuffix("_window")
        if kind in str(found.get("window", "")).lower():
            settings["window"] = f"!name:{name}"
    return settings


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if isinstance(value, Mapping):
                yield from _leaves(value)
            else:
                yield str(key), value
