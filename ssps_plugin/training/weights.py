"""Read the weights of any encoder, and load them into a model."""

import hashlib
import os
import pathlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.utils.logger import get_logger
from torch import Tensor, nn

from ssps_plugin.distributed import without_wrapper
from ssps_plugin.frameworks import (
    EmbeddingModel,
    FastResNet34,
    Framework,
)
from ssps_plugin.frameworks.architectures import (
    Architecture,
    find_architecture,
    unwrapped_names,
)
from ssps_plugin.training.checkpoints import AtomicCheckpointer
from ssps_plugin.training.checks import has_checkpoints

logger = get_logger(__name__)

# Of a checkpoint's files, that which holds the encoder: the first that is
# there.
_FILES_OF_CHECKPOINT = (
    "framework.ckpt",
    "embedding_model.ckpt",
    "encoder.ckpt",
)
_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".model", ".th"}
# Of several files of weights in a folder, the averaged one, then the newest.
_USUAL_STEMS = ("model_avg", "avg_model", "model_best", "model_latest")
# Parts of a checkpoint that hold tensors, but no weights.
_NO_WEIGHTS = re.compile(r"optim|sched|scaler", re.IGNORECASE)
_OPTIONAL = "num_batches_tracked"
# What these hold besides parameters is a function of their settings.
_SETTINGS = ("features.", "normalization.")
# Where several networks of one structure are in a file, by a word of their
# names: a teacher is what DINO verifies, MoCo verifies the network of queries.
_TEACHER = re.compile(r"teacher|(^|_)ema(_|$|\.)", re.IGNORECASE)
_MOMENTUM = re.compile(r"momentum|encoder_k|key|_t(\.|$)", re.IGNORECASE)
_DINO = re.compile(r"(^|\.)(head|dino|last_layer|center)", re.IGNORECASE)
_NUM_SHOWN = 4


@dataclass(frozen=True)
class Weights:
    """Named tensors of a file.

    Arguments
    ---------
    tensors : dict of str to torch.Tensor
        On the CPU, in the order of the file.
    path : pathlib.Path
        The file.
    """

    tensors: dict[str, Tensor]
    path: pathlib.Path


@dataclass(frozen=True)
class ImportReport:
    """What was loaded from where, and what was not.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    prefix : str
        What the names of the loaded network begin with there.
    loaded : list of str
        Names of the model's tensors that were loaded.
    renamed : dict of str to str
        Of these, those that have another name in the file, and that name,
        without the prefix.
    by_order : dict of str to str
        Of these, those that were matched by order and shape, since their names
        say nothing.
    made_new : list of str
        Parts of the model that the file has nothing for: heads.
    unused : list of str
        Names in the file that nothing was loaded from.
    """

    path: pathlib.Path
    prefix: str
    loaded: list[str]
    renamed: dict[str, str] = field(default_factory=dict)
    by_order: dict[str, str] = field(default_factory=dict)
    made_new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in a sentence or two."""
        text = f"{len(self.loaded)} tensors are loaded from {self.path}"
        if self.prefix:
            text += f" (there under {self.prefix.removesuffix('.')})"
        if self.by_order:
            text += (
                f", {len(self.by_order)} of them matched by their order and "
                "shapes"
            )
        text += "."
        if self.made_new:
            text += f" Made new: {', '.join(self.made_new)}."
        if self.unused:
            shown = _shorten(self.unused)
            text += f" Not used: {len(self.unused)} tensors ({shown})."
        return text


def load_weights(
    module: nn.Module,
    source: str | os.PathLike[str],
    prefix: str | None = None,
) -> ImportReport:
    """Load the weights of an encoder into a model, from any good source.

    Names are matched first, with or without SpeechBrain's wrappers
    (`norm.norm.weight` or `norm.weight`) and after any common prefix. Where
    names say nothing, tensors are matched by order, if their kinds and shapes
    are the same one after another.

    Arguments
    ---------
    module : torch.nn.Module
        A `Framework`, whose embedding model and its momentum copy are loaded,
        and its heads where the source has them; an `EmbeddingModel`; or an
        encoder.
    source : str or os.PathLike
        A file of weights (`embedding_model.ckpt`, a snapshot, a `.pt` with a
        state dict at any depth, `.safetensors`), or a folder that holds one:
        an export, SpeechBrain's layout, the output or save folder of a run.
        It is read as data, and never executed.
    prefix : str, optional
        What the names of the network begin with in the file, where it holds
        several. By default a teacher goes before its student, and a network
        before its momentum copy otherwise.

    Returns
    -------
    ImportReport
        What was loaded; `str(report)` is for a log.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no weights in the folder.
    ValueError
        The file holds no weights, or those of another architecture: the
        message lists names and shapes. The module stays as it was.

    Example
    -------
    >>> from ssps_plugin.frameworks import FastResNet34
    >>> path = getfixture("tmp_path") / "weights.pt"
    >>> states = {"model": {"encoder.conv1.weight": torch.ones(4, 1, 7, 7)}}
    >>> torch.save(states, path)
    >>> stem = nn.ModuleDict({"conv1": nn.Conv2d(1, 4, 7, bias=False)})
    >>> load_weights(stem, path).prefix
    'model.encoder.'
    >>> bool((stem["conv1"].weight == 1).all())
    True
    """
    weights = read_weights(source)
    bare = without_wrapper(module)
    if isinstance(bare, Framework):
        return _load_framework(bare, weights, prefix)
    match = _match(bare, weights, prefix)
    _copy(bare, match.tensors)
    return match.report(weights)


def weights_digest(module: nn.Module | None) -> str | None:
    """Return what tells a module's weights from others, None for no module.

    Example
    -------
    >>> module = nn.BatchNorm1d(1)
    >>> before = weights_digest(module)
    >>> _ = module.running_mean.fill_(1.0)
    >>> len(before), weights_digest(module) == before
    (64, False)
    """
    if module is None:
        return None
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        if isinstance(value, Tensor):
            bits = value.cpu().contiguous().flatten().view(torch.uint8)
            digest.update(bits.numpy().data)
    return digest.hexdigest()


def check_weights(module: nn.Module, source: str | os.PathLike[str]) -> None:
    """Check that weights fit a model, which stays as it is.

    Arguments
    ---------
    module, source
        As for `load_weights`, with its errors.
    """
    bare, weights = without_wrapper(module), read_weights(source)
    if isinstance(bare, Framework):
        _match_framework(bare, weights, None)
    else:
        _match(bare, weights)


def find_save_folder(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """Find the folder of a run's checkpoints.

    Arguments
    ---------
    source : str or os.PathLike
        The folder itself, or the output folder that it is in.

    Returns
    -------
    pathlib.Path or None
        None where there are no checkpoints.
    """
    path = pathlib.Path(source)
    return next(filter(has_checkpoints, (path, path / "save")), None)


# -- reading ---------------------------------------------------------------


def find_weights(source: str | os.PathLike[str]) -> pathlib.Path:
    """Find the file of weights that a source names.

    Arguments
    ---------
    source : str or os.PathLike
        As for `load_weights`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        There is none.
    ValueError
        There are several, and none is the usual one.
    """
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(_describe_missing(source))
    if path.is_file():
        return path
    save = find_save_folder(path)
    if save is not None:
        return _file_of_checkpoint(_newest_checkpoint(save))
    for name in _FILES_OF_CHECKPOINT:
        if (path / name).is_file():
            return path / name
    snapshots = sorted(
        [*path.glob("epoch_*.ckpt"), *path.glob("snapshots/epoch_*.ckpt")]
    )
    if snapshots:
        return snapshots[-1]
    for folder in (path, path / "checkpoints"):
        found = _only_weights(folder)
        if found is not None:
            return found
    raise FileNotFoundError(
        "Expected a finished run, with a checkpoint in it, an export, or a "
        f"file of weights ({', '.join(sorted(_SUFFIXES))}), got {source}, a "
        "folder with none: change warm_start_from."
    )


def read_weights(source: str | os.PathLike[str]) -> Weights:
    """Read the tensors of a file of weights, and execute nothing in it.

    Arguments
    ---------
    source : str or os.PathLike
        As for `load_weights`.

    Returns
    -------
    Weights

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It holds no weights, or objects that only executing it would restore.
    """
    path = find_weights(source)
    if path.suffix == ".safetensors":
        data = _read_safetensors(path)
    else:
        data = _read_torch(path)
    tensors = dict(_named_tensors(data))
    if not tensors:
        raise ValueError(
            f"Expected a file of weights at {path}, got one without any named "
            f"tensor ({type(data).__name__}): give a file with a state dict, "
            "such as torch.save(model.state_dict(), path) writes."
        )
    return Weights(tensors, path)


def _read_torch(path: pathlib.Path) -> Any:
    try:
        with (
            torch.serialization.safe_globals(_numpy_scalars()),
            warnings.catch_warnings(action="ignore"),  # says what is raised
        ):
            return torch.load(path, "cpu", weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        needs_code = re.search(r"GLOBAL\s+(\S+)", reason)
        if needs_code:
            raise ValueError(
                f"Expected a file of tensors at {path}, got one that needs "
                f"{needs_code[1]} to be executed, which is never done to "
                "weights: if you trust who made it, load it there with their "
                "code and save its tensors alone, by "
                "torch.save(model.state_dict(), path)."
            ) from None
        if "TorchScript" in reason:
            raise ValueError(
                f"Expected a file of tensors at {path}, got a TorchScript "
                "program: torch.save(torch.jit.load(path).state_dict(), "
                "other_path) makes one of it."
            ) from None
        raise ValueError(
            f"Expected a file of weights at {path}, got one that is none or "
            f"is damaged ({reason[:200] or type(error).__name__}): give one "
            "that torch.save wrote, or fetch it again."
        ) from None


def _read_safetensors(path: pathlib.Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise RuntimeError(
            f"Expected safetensors, to read {path}: pip install safetensors."
        ) from None
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"Expected a safetensors file at {path}, got one that is none or "
            f"is damaged ({error}): fetch it again."
        ) from None
    return tensors


def _numpy_scalars() -> list[Any]:
    """Return what torch.load needs for numbers of numpy among the tensors."""
    kinds = {type(np.dtype(kind)) for kind in "?bhilqBHILQefd"}
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]


def _named_tensors(data: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested mappings, names joined by dots."""
    if not isinstance(data, Mapping):
        return
    for key, value in data.items():
        if not isinstance(key, str):
            continue
        if isinstance(value, Tensor):
            yield prefix + key, value.detach()
        elif not _NO_WEIGHTS.search(key):
            yield from _named_tensors(value, f"{prefix}{key}.")


def _newest_checkpoint(save_folder: pathlib.Path) -> pathlib.Path:
    checkpoint = AtomicCheckpointer(save_folder, recoverables={}).load_newest()
    if checkpoint is None:
        raise FileNotFoundError(
            f"Expected a checkpoint in {save_folder}, got none that is whole."
        )
    return pathlib.Path(checkpoint.path)


def _file_of_checkpoint(folder: pathlib.Path) -> pathlib.Path:
    for name in _FILES_OF_CHECKPOINT:
        if (folder / name).is_file():
            return folder / name
    present = ", ".join(sorted(path.name for path in folder.glob("*.ckpt")))
    raise FileNotFoundError(
        f"Expected {' or '.join(_FILES_OF_CHECKPOINT)} in {folder}, got "
        f"{present}: give the file that holds the encoder."
    )


def _only_weights(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the file of weights in a folder, None without any."""
    if not folder.is_dir():
        return None
    files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)
    if len(files) < 2:
        return files[0] if files else None
    for stem in _USUAL_STEMS:
        usual = [path for path in files if path.stem == stem]
        if len(usual) == 1:
            return usual[0]
    raise ValueError(
        f"Expected one file of weights in {folder}, got "
        f"{_shorten([path.name for path in files])}: name one of them."
    )


def _describe_missing(source: str | os.PathLike[str]) -> str:
    text = str(source)
    advice = "change warm_start_from"
    if "://" in text or re.fullmatch(r"[\w-]+/[\w.-]+", text):
        advice = (
            "if it is a model of a hub, download it first (huggingface-cli "
            "download NAME --local-dir FOLDER), and give the folder"
        )
    return (
        "Expected a finished run, with a checkpoint in it, an export, or a "
        f"file of weights, got {text}, which is not there: {advice}."
    )


# -- matching --------------------------------------------------------------


@dataclass
class _Match:
    """Which tensor of a file belongs to which of a module."""

    prefix: str
    sources: dict[str, str]  # by the name in the module, that in the file
    tensors: dict[str, Tensor]  # by the name in the module
    by_order: dict[str, str]
    wrong_shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    missing: list[str]
    unused: list[str]  # names in the file, under the prefix
    module: nn.Module
    start: str = ""  # what the module's names begin with in these

    @property
    def num_misfits(self) -> int:
        return len(self.missing) + len(self.wrong_shapes)

    @property
    def is_whole(self) -> bool:
        return bool(self.tensors) and not self.num_misfits

    @property
    def place(self) -> str:
        """What the names of the encoder's tensors begin with in the file."""
        names = [
            source
            for name, source in self.sources.items()
            if not name.startswith(_SETTINGS)
        ]
        return os.path.commonprefix(names).rpartition(".")[0]

    def report(self, weights: Weights) -> ImportReport:
        start = len(self.prefix)
        used = set(self.sources.values())
        return ImportReport(
            weights.path,
            self.prefix,
            list(self.sources),
            {
                name: source[start:]
                for name, source in self.sources.items()
                if source[start:] != name.removeprefix(self.start)
                and name not in self.by_order
            },
            {n: source[start:] for n, source in self.by_order.items()},
            unused=[
                name
                for name in weights.tensors
                if name not in used and not name.endswith(_OPTIONAL)
            ],
        )


def _match(
    module: nn.Module, weights: Weights, prefix: str | None = None
) -> _Match:
    """Match a file's tensors with a module's.

    Raises
    ------
    ValueError
        They do not fit.
    """
    # A snapshot holds the features' state too; most others the encoder alone.
    parts = [("", module)]
    if isinstance(module, EmbeddingModel):
        parts.append(("encoder.", module.encoder))
    candidates = [
        match
        for start, part in parts
        for match in _match_part(part, start, weights, prefix)
    ]
    whole: dict[str, _Match] = {}  # one for each network of the file
    # What names say goes before what order says.
    for match in sorted(candidates, key=lambda match: len(match.by_order)):
        if match.is_whole:
            whole.setdefault(match.place, match)
    if not whole:
        closest = min(candidates, key=lambda match: match.num_misfits)
        raise ValueError(_describe_misfit(closest, weights))
    return _choose_network(list(whole.values()), weights)


def _match_part(
    module: nn.Module, start: str, weights: Weights, prefix: str | None
) -> list[_Match]:
    """Match with one module, whose names get a start in the results."""
    target = _Target.of(module, start)
    if prefix is None:
        prefixes = _likely_prefixes(target, weights.tensors)
    else:
        prefixes = [f"{prefix.removesuffix('.')}." if prefix else ""]
    return [_match_prefix(target, weights.tensors, one) for one in prefixes]


@dataclass
class _Target:
    """A module whose tensors are to be found in a file."""

    module: nn.Module
    start: str  # what its names begin with in the results
    state: dict[str, Tensor]
    needed: set[str]
    accepted: dict[str, str]  # its names, by any name that they may have

    @classmethod
    def of(cls, module: nn.Module, start: str = "") -> "_Target":
        accepted: dict[str, str] = {}
        for name, bare in unwrapped_names(module).items():
            accepted.setdefault(bare, name)
        state = {
            name: value
            for name, value in module.state_dict().items()
            if isinstance(value, Tensor)
        }
        accepted |= {name: name for name in state}
        return cls(module, start, state, _needed_names(module), accepted)


def _needed_names(module: nn.Module) -> set[str]:
    """Return the tensors of a module that have to come from the file."""
    needed = {name for name, _ in module.named_parameters()}
    needed |= {
        name
        for name in module.state_dict()
        if not name.startswith(_SETTINGS) and not name.endswith(_OPTIONAL)
    }
    return needed


def _likely_prefixes(
    target: _Target, tensors: Mapping[str, Tensor]
) -> list[str]:
    """Return the prefixes under which most names fit, the best first.

    Where no name fits anywhere, those that have enough tensors.
    """
    scores: Counter[str] = Counter()
    prefixes: dict[str, int] = {}
    for name in tensors:
        parts = name.split(".")
        for depth in range(len(parts)):
            start = "".join(f"{part}." for part in parts[:depth])
            prefixes[start] = prefixes.get(start, 0) + 1
            if name[len(start) :] in target.accepted:
                scores[start] += 1
    if not scores:
        least = len(target.needed)
        return [p for p, number in prefixes.items() if number >= least] or [""]
    most = max(scores.values())
    return [start for start in prefixes if scores[start] == most]


def _match_prefix(
    target: _Target, tensors: Mapping[str, Tensor], prefix: str
) -> _Match:
    own = {n: t for n, t in tensors.items() if n.startswith(prefix)}
    bare = {name: name[len(prefix) :] for name in own}
    sources = {
        target.accepted[bare[name]]: name
        for name in own
        if bare[name] in target.accepted
    }
    used = set(sources.values())
    unused = [name for name in own if name not in used]
    missing = [n for n in target.state if n in target.needed - sources.keys()]
    if len(missing) < len(target.needed):  # names mean the same, then
        by_end = _match_by_end(missing, unused)
        sources |= by_end
        taken = set(by_end.values())
        unused = [name for name in unused if name not in taken]
        missing = [name for name in missing if name not in by_end]
    by_order = _match_by_order(
        {name: target.state[name] for name in missing},
        {name: own[name] for name in unused},
    )
    sources |= by_order
    fitting: dict[str, Tensor] = {}
    wrong_shapes = {}
    for name, source in sources.items():
        found, expected = tensors[source], target.state[name]
        if _squeezed(found) == _squeezed(expected):
            fitting[name] = found.reshape(expected.shape)
        elif name in target.needed:
            wrong_shapes[name] = tuple(found.shape), tuple(expected.shape)
    taken = set(by_order.values())
    start = target.start
    return _Match(
        prefix,
        {start + n: sources[n] for n in fitting},
        {start + n: value for n, value in fitting.items()},
        {start + n: source for n, source in by_order.items()},
        {start + n: shapes for n, shapes in wrong_shapes.items()},
        [start + n for n in missing if n not in by_order],
        [name for name in unused if name not in taken],
        target.module,
        start,
    )


def _match_by_end(
    missing: Sequence[str], unused: Sequence[str]
) -> dict[str, str]:
    """Match names of which one is the end of the other, if there is one such.

    So `attention` is found in a module of its own, as `pooling.attention`.
    """
    found = {}
    for name in missing:
        ends = [other for other in unused if _is_end(name, other)]
        if len(ends) == 1:
            found[name] = ends[0]
    twice = [key for key, n in Counter(found.values()).items() if n > 1]
    return {n: other for n, other in found.items() if other not in twice}


def _is_end(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    says_something = "." in shorter or not _kind(shorter)
    return says_something and longer.endswith(f".{shorter}")


def _match_by_order(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> dict[str, str]:
    """Match tensors that come in the same order, or none of them."""
    names = [name for name in found if not name.endswith(_OPTIONAL)]
    if not wanted or len(names) != len(wanted):
        return {}
    for one, other in zip(wanted, names, strict=True):
        if _kind(one) != _kind(other):
            return {}
        if _squeezed(wanted[one]) != _squeezed(found[other]):
            return {}
    return dict(zip(wanted, names, strict=True))


def _kind(name: str) -> str:
    """Return what a tensor is in its layer; other names are all alike."""
    last = name.rpartition(".")[2]
    kinds = ("weight", "bias", "running_mean", "running_var")
    return last if last in kinds else ""


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """Return a shape without the 1s at its end: of a linear layer as well."""
    shape = list(tensor.shape)
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _choose_network(matches: Sequence[_Match], weights: Weights) -> _Match:
    """Choose among networks of one structure that a file holds."""
    if len(matches) == 1:
        return matches[0]
    names = weights.tensors
    is_dino = any(map(_DINO.search, names)) and not any(
        "queue" in name for name in names
    )

    def preference(match: _Match) -> int:
        if _TEACHER.search(match.place):
            return 0
        if _MOMENTUM.search(match.place):
            return 1 if is_dino else 3
        return 2

    chosen = min(matches, key=preference)
    logger.warning(
        "%s holds %d networks that fit, under %s: that under %s is taken. "
        "load_weights(..., prefix=...) takes another.",
        weights.path,
        len(matches),
        ", ".join(match.place for match in matches),
        chosen.place,
    )
    return chosen


def _copy(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    state = module.state_dict()
    with torch.no_grad():
        for name, value in tensors.items():
            state[name].copy_(value)


# -- frameworks ------------------------------------------------------------


def _load_framework(
    framework: Framework, weights: Weights, prefix: str | None
) -> ImportReport:
    """Load all networks of a framework, and its heads where there are any."""
    found, report = _match_framework(framework, weights, prefix)
    _copy(framework, found)
    _warn_of_other_features(framework.exported_model, report)
    return report


def _match_framework(
    framework: Framework, weights: Weights, prefix: str | None
) -> tuple[dict[str, Tensor], ImportReport]:
    models = {
        name: module
        for name, module in framework.named_children()
        if type(module) is type(framework.exported_model)
    }
    if prefix is None and _is_of_framework(models, weights):
        found = {
            name: weights.tensors[name].reshape(value.shape)
            for name, value in framework.state_dict().items()
            if isinstance(value, Tensor)
            and name in weights.tensors
            and weights.tensors[name].shape == value.shape
        }
        report = ImportReport(weights.path, "", list(found))
        report.unused.extend(n for n in weights.tensors if n not in found)
    else:
        match = _match(framework.exported_model, weights, prefix)
        found = {
            f"{name}.{key}": value
            for name in models
            for key, value in match.tensors.items()
        }
        report = match.report(weights)
    report.made_new.extend(_parts_without(found, framework, set(models)))
    return found, report


def _warn_of_other_features(model: nn.Module, report: ImportReport) -> None:
    """Warn where the authors' weights meet SpeechBrain's features."""
    encoder = getattr(model, "encoder", None)
    is_theirs = isinstance(encoder, FastResNet34) or (
        isinstance(encoder, ECAPA_TDNN) and bool(report.renamed)
    )
    if is_theirs and isinstance(getattr(model, "features", None), Fbank):
        logger.warning(
            "By their names, the weights in %s were trained on the published "
            "front end, not on SpeechBrain's features, which are set: add "
            "--overlay hparams/authors_features.yaml to start from where they "
            "are.",
            report.path,
        )


def _is_of_framework(models: Mapping[str, nn.Module], weights: Weights) -> bool:
    """Whether weights are a checkpoint of a framework with these models."""
    own = weights.tensors
    # A teacher goes before its student, wherever it is loaded into.
    has_teacher = any(name.startswith("teacher_model.") for name in own)
    if has_teacher and "teacher_model" not in models:
        return False
    needed = {name: _needed_names(model) for name, model in models.items()}
    return all(
        f"{name}.{key}" in own and own[f"{name}.{key}"].shape == value.shape
        for name, model in models.items()
        for key, value in model.state_dict().items()
        if key in needed[name]
    )


def _parts_without(
    found: Mapping[str, Tensor], framework: Framework, models: set[str]
) -> list[str]:
    """Return the heads of a framework that are not wholly among weights."""
    return [
        name
        for name, part in framework.named_children()
        if name not in models
        and any(
            f"{name}.{key}" not in found
            for key in part.state_dict()
            if not key.endswith(_OPTIONAL)
        )
    ]


# -- errors ----------------------------------------------------------------


def _describe_misfit(match: _Match, weights: Weights) -> str:
    start = len(match.prefix)
    kind = type(match.module).__name__
    parts = []
    if match.wrong_shapes:
        shapes = [
            f"{name} {found} for {expected}"
            for name, (found, expected) in match.wrong_shapes.items()
        ]
        parts.append(f"{len(shapes)} of other shapes ({_shorten(shapes)})")
    if match.missing:
        parts.append(
            f"{len(match.missing)} missing ({_shorten(match.missing)})"
        )
    if match.unused:
        names = [name[start:] for name in match.unused]
        parts.append(f"{len(names)} that belong nowhere ({_shorten(names)})")
    return (
        f"Expected weights of {kind} with the present settings, got weights of "
        f"another architecture in {weights.path}: {', '.join(parts)}. "
        + _advise(match, weights)
    )


def _advise(match: _Match, weights: Weights) -> str:
    """Say which settings the weights would fit."""
    theirs = guess_architecture(weights)
    if theirs is None:
        return (
            "Change the encoder to the one that they belong to, or give other "
            "weights."
        )
    encoder = getattr(match.module, "encoder", match.module)
    ours = find_architecture(encoder.state_dict())
    if ours is None or ours.class_name != theirs.class_name:
        sizes = ", ".join(f"{k} {v}" for k, v in theirs.yaml_keys.items())
        return (
            f"They are of {theirs.class_name}: change encoder to it, with "
            f"{sizes}."
        )
    present = {**ours.arguments, **ours.yaml_keys}
    changed = {
        name: value
        for name, value in {**theirs.arguments, **theirs.yaml_keys}.items()
        if present.get(name) != value
    }
    keys = {k: v for k, v in theirs.yaml_keys.items() if k in changed}
    # An argument that no key sets is set in the encoder itself.
    of_encoder = {
        name: value
        for name, value in theirs.arguments.items()
        if name in changed and value not in keys.values()
    }
    advice = [f"{key} to {value}" for key, value in keys.items()]
    if of_encoder:
        advice.append(f"encoder's arguments to {of_encoder}")
    if not advice:
        return "Change the encoder to the one that they belong to."
    return f"Change {' and '.join(advice)}."


def guess_architecture(weights: Weights) -> Architecture | None:
    """Find an encoder's architecture under any prefix of a file's names.

    Arguments
    ---------
    weights : Weights
        A file's tensors.

    Returns
    -------
    Architecture or None
        Of the first network that is one of those known.
    """
    found = find_networks(weights)
    return next(iter(found.values()), None)


def find_networks(weights: Weights) -> dict[str, Architecture]:
    """Find the encoders of known architecture in a file.

    Arguments
    ---------
    weights : Weights
        A file's tensors.

    Returns
    -------
    dict of str to Architecture
        By the prefix of their names, in the order of the file.
    """
    prefixes: dict[str, None] = {"": None}
    for name in weights.tensors:
        parts = name.split(".")[:-1]
        for depth in range(len(parts)):
            prefixes["".join(f"{part}." for part in parts[: depth + 1])] = None
    found = {}
    for prefix in prefixes:
        own = {
            name[len(prefix) :]: value
            for name, value in weights.tensors.items()
            if name.startswith(prefix)
        }
        architecture = find_architecture(own)
        if architecture is not None:
            found[prefix] = architecture
    return found


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    more = ", …" if len(names) > _NUM_SHOWN else ""
    return ", ".join(names[:_NUM_SHOWN]) + more
