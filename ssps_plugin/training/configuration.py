"""A recipe's configuration: a YAML file, an overlay, and the command line."""

import contextlib
import dataclasses
import datetime
import difflib
import io
import math
import pathlib
import re
from collections.abc import (
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any

import ruamel.yaml
import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import LiteralScalarString
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from ssps_plugin.atomic_write import atomic_write
from ssps_plugin.training.settings import (
    check_ranges,
    check_value,
    is_path,
    parse_value,
    pin_paths,
    resolve_node,
    resolve_value,
    tag_of,
)

# A key of an overlay that the file lacks may be meant for another file; it is
# taken for a slip only where a key of the file is spelt this much like it.
_SLIP_SIMILARITY = 0.88
#: SpeechBrain's own options and their defaults, which are no keys of a YAML.
RUN_OPTIONS = {
    name: default
    for name, default in RunOptions().as_dict().items()
    if name in {*HELP_TEXTS, "jit_module_keys", "compile_module_keys"}
}
# The least that those options take which would fail later.
_LEAST_OPTIONS = {
    "ckpt_interval_minutes": 0.0,
    "grad_accumulation_factor": 1,
    "nonfinite_patience": 0,
    "optimizer_step_limit": 1,
}
# A key's name in a reference, which may go on to a part of it: `<a[b]>`.
_REFERENCE = re.compile(r"<(\w+)")
# Tags whose value depends on when, or from where, they are resolved.
_REFERENCES_ELSEWHERE = re.compile(r"!applyref:|!include:")
_BACKENDS = ("nccl", "gloo", "mpi")


@dataclass
class Configuration:
    """A YAML file and the values that override its own.

    Arguments
    ---------
    hparams_file : pathlib.Path
        The YAML file.
    run_opts : RunOptions
        SpeechBrain's run options.
    overrides : dict
        Values that override the file's: those of overlays, then those of
        the command line.
    notes, warnings : list of str
        Messages for the log, which is not open yet when they arise.
    overlays : list of pathlib.Path
        The overlays applied so far; what a later one has goes before.
    root : pathlib.Path, optional
        The last folder in which relative overlays are looked for.
    """

    hparams_file: pathlib.Path
    run_opts: Any
    overrides: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    overlays: list[pathlib.Path] = field(default_factory=list)
    root: pathlib.Path | None = None

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key, overridden or the file's own."""
        if key in self.overrides:
            return self.overrides[key]
        return _read_yaml(self.hparams_file)[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default where there is no such."""
        try:
            return self[key]
        except KeyError:
            return default

    def settings(self) -> dict[str, Any]:
        """Return the plain keys' values, references to others resolved."""
        tree = _yaml().load(resolve_references(self._text()))
        return _plain_settings(tree)

    def arguments(self) -> dict[str, Any]:
        """Return what objects are made of; see `read_saved_arguments`."""
        return dict(_leaves_of_objects(_yaml().load(self._text())))

    def load(self, keys: Collection[str] | None = None) -> dict[str, Any]:
        """Build the objects that the configuration describes.

        HyperPyYAML executes what a YAML file says: load only files that you
        would run.

        Arguments
        ---------
        keys : collection of str, optional
            Build no more than these keys and what they refer to.

        Returns
        -------
        dict
            Values and objects by key.

        Raises
        ------
        ValueError
            An object cannot be built; the message names the file.
        """
        try:
            hparams: dict[str, Any] = load_hyperpyyaml(self._text(keys))
        except (
            *(TypeError, AttributeError, KeyError, IndexError),
            *(AssertionError, ArithmeticError, RecursionError),
            ruamel.yaml.error.YAMLError,
        ) as error:
            changed = ", ".join(self.overrides)
            raise ValueError(
                f"Expected {self.hparams_file} to describe objects that can "
                f"be built, got {type(error).__name__}: {error}. Change the "
                f"file, or what overrides it ({changed or 'nothing'})."
            ) from error
        return hparams

    def save(self, folder: str | pathlib.Path) -> None:
        """Write `hyperparams.yaml`, which loads without any override.

        References to other keys stay, so that one who trains from it and
        overrides a key reaches all that refers to the key. What depends on
        the time or the place (`!applyref:`, `!include:`) is resolved.
        """
        text = self._text()
        if _REFERENCES_ELSEWHERE.search(text.getvalue()):
            text = resolve_references(text)
        with atomic_write(pathlib.Path(folder, "hyperparams.yaml")) as file:
            file.write(f"# Generated {datetime.date.today()} from:\n")
            file.write(f"# {self.hparams_file.absolute()}\n")
            file.write("# yamllint disable\n")
            file.write(text.read())

    def apply_overlay(self, overlay: str | pathlib.Path) -> None:
        """Override the file by a YAML file; present overrides stay.

        Keys that the file does not have are left out, so that one overlay
        serves several files. So are arguments for an object that has none:
        those of a sampler, say, where the twin without SSPS has a bare object.

        Arguments
        ---------
        overlay : str or pathlib.Path
            The overlay. A relative path is looked for in the working folder,
            beside the YAML file, in the folder above it, and in `root`.

        Raises
        ------
        FileNotFoundError
            No such overlay.
        ValueError
            It is no YAML file of keys and values, or a value is of another
            type than the file's or out of range.
        """
        path = _find_overlay(overlay, self.hparams_file, self.root)
        keys = _read_yaml(self.hparams_file)
        values = _read_yaml(path)
        unused = [key for key in values if key not in keys]
        for key in unused:
            self._warn_mistyped(key, keys, path)
        # One that serves the files beside it has keys for each of them.
        of_others = _keys_beside(path) if unused else set()
        unused = [key for key in unused if key not in of_others]
        bare = {
            key
            for key, value in values.items()
            if key in keys and _are_arguments_of_none(value, keys[key])
        }
        unused += sorted(bare)
        values = {
            key: check_value(
                key,
                value,
                keys,
                f"got {_describe_node(value)} in {path}",
                f"change {key} there",
            )
            for key, value in values.items()
            if key in keys and key not in bare
        }
        apply_overrides(values, self.overrides)
        self.overrides = values
        self.overlays.insert(0, path)
        # The saved configuration holds the values: it needs no overlay.
        self.overrides["overlay"] = None
        self.notes.append(
            f"The overlay {path} is applied to {self.hparams_file}."
        )
        if unused:
            self.notes.append(
                f"{self.hparams_file} has no use for {', '.join(unused)}."
            )
        self.check_values()

    def overlay_keys(self) -> set[str]:
        """Return the keys that the overlays applied so far have."""
        return {key for path in self.overlays for key in _read_yaml(path)}

    def warn_unused(self, keys: Collection[str]) -> None:
        """Warn of keys that nothing refers to any more.

        Arguments
        ---------
        keys : collection of str
            Keys that were typed.
        """
        before, now = _read_yaml(self.hparams_file), self._tree()
        lost = set(_references_below(before)) - set(_references_below(now))
        for key in keys:
            if key in lost:
                self.warnings.append(
                    f"{key} does nothing: the object of {self.hparams_file} "
                    "that takes it was replaced by an overlay or by another "
                    "key, in which it is not."
                )

    def check_values(self) -> None:
        """Check that paths are text and that numbers are in range.

        Raises
        ------
        ValueError
            One is not; the message names its key.
        """
        tree = self._tree()
        values = {key: resolve_value(tree, key) for key in tree}
        for key, value in values.items():
            if not is_path(key) or value is None:
                continue
            for path in value if isinstance(value, list) else [value]:
                # A date or a number that was not quoted.
                if not isinstance(path, str) and tag_of(path) is None:
                    raise ValueError(
                        f"Expected a path for {key} in {self.hparams_file}, "
                        f"got {path}: quote it."
                    )
        check_ranges(values, self.hparams_file)

    def _warn_mistyped(
        self, key: str, keys: Collection[str], path: pathlib.Path
    ) -> None:
        close = difflib.get_close_matches(key, keys, 1, _SLIP_SIMILARITY)
        if close:
            self.warnings.append(
                f"{key} in {path} does nothing: {self.hparams_file} has no "
                f"such key, did you mean {close[0]}?"
            )

    def _text(self, keys: Collection[str] | None = None) -> io.StringIO:
        """Return the file with its overrides, references not yet resolved."""
        tree = self._tree()
        pin_paths(tree)
        if keys is not None:
            needed = _keys_needed(tree, keys)
            for key in [key for key in tree if key not in needed]:
                del tree[key]
        _mark_text(tree)
        text = io.StringIO()
        _yaml().dump(tree, text)
        text.seek(0)
        text.name = str(self.hparams_file)  # what !include starts from
        return text

    def _tree(self) -> MutableMapping[str, Any]:
        tree = _read_yaml(self.hparams_file)
        apply_overrides(tree, self.overrides)
        return tree


def parse_configuration(
    argv: Sequence[str], root: str | pathlib.Path | None = None
) -> Configuration:
    """Parse a command line in SpeechBrain's convention.

    Arguments
    ---------
    argv : sequence of str
        `hparams/x.yaml --key value ...`, without the program's name.
    root : str or pathlib.Path, optional
        The last folder in which relative overlays are looked for: that of the
        recipes, for a copy of a YAML file that lies elsewhere.

    Returns
    -------
    Configuration
        With the overlays applied that the key `overlay` names; of several,
        the last one's values go before. `--overlay` may be given several times.

    Raises
    ------
    FileNotFoundError
        No such YAML file or overlay.
    ValueError
        A key that the YAML file does not have, or that is given twice; a value
        without a key; an abbreviated run option, which SpeechBrain would
        take without a word.

    Example
    -------
    >>> path = getfixture("tmp_path") / "x.yaml"
    >>> _ = path.write_text("seed: 1\\noverlay: null\\n")
    >>> parse_configuration([str(path), "--seed", "2"])["seed"]
    2
    """
    if "-h" in argv or "--help" in argv:
        sb.parse_arguments(["--help"])
    hparams_file, typed = _split_command_line(argv)
    _check_hparams_file(hparams_file)
    keys = _read_yaml(hparams_file)
    options = {key: typed[key] for key in typed if key in RUN_OPTIONS}
    values = {key: typed[key] for key in typed if key not in RUN_OPTIONS}
    _check_keys(values, keys, hparams_file)
    configuration = Configuration(
        pathlib.Path(hparams_file),
        _parse_run_options(hparams_file, options),
        {key: parse_value(key, text, keys) for key, text in values.items()},
        root=None if root is None else pathlib.Path(root),
    )
    configuration.check_values()
    overlay = configuration.get("overlay")
    if overlay is not None:
        overlays = overlay if isinstance(overlay, list) else [overlay]
        for one in reversed(overlays):
            configuration.apply_overlay(one)
    configuration.warn_unused(values)
    return configuration


def read_saved_settings(path: str | pathlib.Path) -> dict[str, Any]:
    """Read the plain values of a run's saved configuration.

    Nothing in it is built, executed or included.

    Arguments
    ---------
    path : str or pathlib.Path
        A `hyperparams.yaml`, as `Configuration.save` writes it.

    Returns
    -------
    dict
        The values by key; objects are left out.

    Raises
    ------
    ValueError
        The file is damaged: it is no YAML, or holds no keys and values.

    Example
    -------
    >>> path = getfixture("tmp_path") / "hyperparams.yaml"
    >>> _ = path.write_text("seed: 1\\nx: !applyref:os.getcwd []\\n")
    >>> read_saved_settings(path)
    {'seed': 1}
    """
    tree = _read_yaml(path)
    if not tree:
        raise ValueError(
            f"Expected keys and values (`key: value`) in {path}, got an empty "
            "file."
        )
    return _plain_settings(_resolve_references_to_plain(tree))


def read_saved_arguments(path: str | pathlib.Path) -> dict[str, Any]:
    """Read what a saved configuration's objects are made of.

    Nothing in it is built, executed or included.

    Arguments
    ---------
    path : str or pathlib.Path
        A `hyperparams.yaml`, as `Configuration.save` writes it.

    Returns
    -------
    dict
        Their classes and plain arguments by place; what refers to a key is
        left out.

    Raises
    ------
    ValueError
        The file is damaged: it is no YAML, or holds no keys and values.

    Example
    -------
    >>> path = getfixture("tmp_path") / "hyperparams.yaml"
    >>> _ = path.write_text("sampler: !new:S {size: 3, dim: !ref <dim>}")
    >>> read_saved_arguments(path)
    {'sampler': '!new:S', 'sampler.size': 3}
    """
    return dict(_leaves_of_objects(_read_yaml(path)))


def read_saved_strategy(path: str | pathlib.Path) -> str | None:
    """Return the class of a saved configuration's sampling strategy.

    Nothing in it is built, executed or included.

    Arguments
    ---------
    path : str or pathlib.Path
        A `hyperparams.yaml`, as `Configuration.save` writes it.

    Returns
    -------
    str or None
        The name of the class, such as `ClusteringSampling`; None without SSPS.

    Example
    -------
    >>> path = getfixture("tmp_path") / "hyperparams.yaml"
    >>> _ = path.write_text("sampler: !new:S {strategy: !new:ssps.Mine {}}")
    >>> read_saved_strategy(path)
    'Mine'
    """
    tree = _read_yaml(path)
    sampler = resolve_node(tree, tree.get("sampler"))
    if not isinstance(sampler, Mapping):
        return None
    tag = tag_of(resolve_node(tree, sampler.get("strategy")))
    return tag.rpartition(".")[2] if tag else None


def apply_overrides(
    tree: MutableMapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Override the values of a YAML tree, in place.

    A mapping changes those keys that it has, as in HyperPyYAML. One with a tag
    of its own (`!new:`, `!name:`) that differs from the present one's is
    another object: it replaces the present one with all of its arguments.
    (HyperPyYAML would merge the arguments, and keep the present tag.) One
    without a tag gives arguments to an object that had none.

    Arguments
    ---------
    tree : dict
        A file as ruamel.yaml reads it.
    overrides : mapping
        Plain values, or nodes as ruamel.yaml reads them.

    Example
    -------
    >>> import ruamel.yaml
    >>> yaml = ruamel.yaml.YAML()
    >>> tree = yaml.load("{margin: !new:Cos {m: 0.1}, queue: !new:Q {n: 1}}")
    >>> overrides = yaml.load("{margin: !new:Arc {a: 2}, queue: {n: 3}}")
    >>> apply_overrides(tree, overrides)
    >>> tree["margin"].tag.value, dict(tree["margin"])
    ('!new:Arc', {'a': 2})
    >>> tree["queue"].tag.value, dict(tree["queue"])
    ('!new:Q', {'n': 3})
    """
    for key, value in overrides.items():
        present = tree.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(present, MutableMapping)
            and tag_of(value) in (None, tag_of(present))
        ):
            apply_overrides(present, value)
        elif present is not None and _are_arguments_of_none(value, present):
            tree[key] = CommentedMap(value)
            tree[key].yaml_set_ctag(present.tag)
        else:
            tree[key] = value


# -- reading YAML ----------------------------------------------------------


def _yaml() -> ruamel.yaml.YAML:
    return ruamel.yaml.YAML()


def _read_yaml(path: str | pathlib.Path) -> MutableMapping[str, Any]:
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        tree = _yaml().load(io.StringIO(text)) or {}
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected a YAML file in UTF-8, got {error} in {path}: repair or "
            "replace the file."
        ) from None
    except (
        *(ruamel.yaml.error.YAMLError, ValueError, RecursionError),
        *(TypeError, AttributeError, KeyError, IndexError, AssertionError),
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected a YAML file at {path}, got what is none ({reason}): "
            "repair or replace the file."
        ) from None
    is_mapping = isinstance(tree, MutableMapping) and tag_of(tree) is None
    if not is_mapping or not all(isinstance(key, str) for key in tree):
        raise ValueError(
            f"Expected keys and values (`key: value`) in {path}, got "
            f"{_describe_node(tree)}."
        )
    return tree


def _are_arguments_of_none(value: Any, present: Any) -> bool:
    """Return whether arguments are given for an object without arguments."""
    return (
        isinstance(value, Mapping)
        and tag_of(value) is None
        and (tag_of(present) or "").startswith("!new:")
        and not isinstance(present, Mapping)
    )


def _keys_beside(overlay: pathlib.Path) -> set[str]:
    """Return the keys of the other YAML files in an overlay's folder."""
    keys: set[str] = set()
    for path in overlay.resolve().parent.glob("*.yaml"):
        if path != overlay.resolve():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                lines = path.read_text(encoding="utf-8").splitlines()
                keys |= {line.partition(":")[0] for line in lines}
    return keys


def _describe_node(node: Any) -> str:
    """Show a node of a YAML file, briefly, for an error."""
    try:
        text = repr(node)
    except RecursionError:
        text = "a node that holds itself"
    return text if len(text) < 200 else text[:200] + "…"


def _plain_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_comments(value)
        for key, value in tree.items()
        if _is_plain(value)
    }


def _without_comments(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_comments(one) for key, one in value.items()}
    return list(value) if isinstance(value, list) else value


def _leaves_of_objects(
    tree: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the classes and plain arguments of objects, by dotted place."""
    for key, value in tree.items():
        place = f"{above}{key}"
        if isinstance(value, Mapping):
            if tag_of(value) is not None:
                yield place, tag_of(value)
            if tag_of(value) is not None or not _is_plain(value):
                yield from _leaves_of_objects(value, f"{place}.")
        elif above and _is_plain(value):
            yield place, _without_comments(value)


def _resolve_references_to_plain(
    tree: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a file's keys, references to plain values resolved.

    Sums and products of references are HyperPyYAML's; nothing is built.
    """
    kept = {key: value for key, value in tree.items() if _refers_plainly(value)}
    while lost := [
        key
        for key, value in kept.items()
        if not kept.keys() >= set(_references_below(value))
    ]:
        for key in lost:
            del kept[key]
    if not any(next(_references_below(v), None) for v in kept.values()):
        return dict(tree)
    text = io.StringIO()
    _yaml().dump(kept, text)
    text.seek(0)
    return {**tree, **_yaml().load(resolve_references(text))}


def _refers_plainly(value: Any) -> bool:
    """Whether a value is plain, a reference, or a list of such."""
    if isinstance(value, list):
        return tag_of(value) is None and all(map(_refers_plainly, value))
    return _is_plain(value) or tag_of(value) == "!ref"


def _keys_needed(tree: Mapping[str, Any], keys: Collection[str]) -> set[str]:
    """Return keys of a file with all those that they refer to."""
    needed: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in tree and key not in needed:
            needed.add(key)
            waiting += _references_below(tree[key])
    return needed


def _references_below(node: Any) -> Iterator[str]:
    """Yield the names between `<` and `>` in a node and below it."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _references_below(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references_below(value)
    elif tag_of(node) is not None:
        yield from _REFERENCE.findall(str(node.value))


def _mark_text(tree: Any) -> None:
    """Write text in parentheses so that HyperPyYAML takes it for no tuple."""
    entries: Any = ()
    if isinstance(tree, Mapping):
        entries = list(tree.items())
    elif isinstance(tree, list):
        entries = list(enumerate(tree))
    for place, value in entries:
        if not isinstance(value, str):
            _mark_text(value)
        elif (
            value.startswith("(")
            and value.isprintable()  # else it is quoted anyway
            and is_path(str(place))
        ):
            tree[place] = LiteralScalarString(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is text, a number or null, or a list or map of such."""
    if isinstance(value, list):
        return tag_of(value) is None and all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return tag_of(value) is None and all(
            isinstance(key, str) and _is_plain(one)
            for key, one in value.items()
        )
    return isinstance(value, (str, int, float, type(None)))


def _find_overlay(
    overlay: str | pathlib.Path,
    hparams_file: pathlib.Path,
    root: pathlib.Path | None,
) -> pathlib.Path:
    folder = hparams_file.resolve().parent
    candidates = [
        pathlib.Path(overlay),
        folder / overlay,
        folder.parent / overlay,
        folder / pathlib.Path(overlay).name,
        *([] if root is None else [root / overlay]),
    ]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"Expected an overlay (a YAML file that overrides {hparams_file}) at "
        f"{overlay}, got none at {', '.join(map(str, candidates))}: change "
        "overlay."
    )


# -- checking the command line ---------------------------------------------


def _check_hparams_file(path: str) -> None:
    if pathlib.Path(path).is_file():
        return
    saved = pathlib.Path(path, "hyperparams.yaml")
    raise FileNotFoundError(
        "Expected a YAML file, such as hparams/simclr_ssps.yaml, got "
        f"{path}, which is no file in {pathlib.Path.cwd()}"
        + (f": give {saved}." if saved.is_file() else ".")
    )


def _split_command_line(argv: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the YAML file and what was typed for each key, as text."""
    files: list[str] = []
    typed: dict[str, str] = {}
    tokens = list(argv)
    before = ""
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            if files or token.startswith("-"):
                raise ValueError(
                    f"Expected --key value or --key=value, got {token!r} after "
                    f"{before!r}, which takes no value."
                )
            files.append(token)
            before = token
            continue
        before = token
        name, is_joined, value = token.removeprefix("--").partition("=")
        _check_abbreviation(name)
        if name in typed and name != "overlay":
            raise ValueError(f"Expected --{name} once, got it twice.")
        is_flag = isinstance(RUN_OPTIONS.get(name), bool)
        if is_flag and is_joined:
            raise ValueError(
                f"Expected --{name} alone, got {token}: it takes no value."
            )
        if not is_flag and not is_joined:
            if not tokens or tokens[0].startswith("--"):
                raise ValueError(
                    f"Expected a value after --{name}, got "
                    + (tokens[0] if tokens else "the end of the command")
                    + f": give one (is a variable unset?), --{name}=VALUE if "
                    "it begins with --, or leave it out."
                )
            value = tokens.pop(0)
        present = typed.get(name)
        typed[name] = value if present is None else _join(present, value)
    if not files:
        raise ValueError(
            "Expected a YAML file, such as hparams/simclr_ssps.yaml, got none "
            "on the command line: give it first."
        )
    return files[0], typed


def _join(*texts: str) -> str:
    """Join paths, or lists of paths, as they are typed."""
    items = []
    for text in texts:
        if text.startswith("[") and text.endswith("]"):
            items.append(text[1:-1])
        else:
            quoted = text.replace("'", "''")
            items.append(f"'{quoted}'")
    return f"[{', '.join(items)}]"


def _parse_run_options(hparams_file: str, typed: Mapping[str, str]) -> Any:
    """Parse SpeechBrain's options by its parser, and check them."""
    # SpeechBrain takes the one for an int, the other for text.
    numbers: dict[str, float] = {}
    argv = [hparams_file]
    for name, text in typed.items():
        default = RUN_OPTIONS[name]
        if isinstance(default, bool):
            argv.append(f"--{name}")
            continue
        if not text.strip():
            raise ValueError(
                f"Expected a value for --{name}, got an empty one: change "
                f"--{name} (is a variable unset?), or leave it out."
            )
        is_float = isinstance(default, float) or name == "ckpt_interval_minutes"
        if is_float or name in _LEAST_OPTIONS:
            value = _parse_number(name, text, float if is_float else int)
            if name in ("ckpt_interval_minutes", "optimizer_step_limit"):
                numbers[name] = value
                continue
            text = str(value)
        argv.append(f"--{name}={text}")
    _check_device(typed)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            _, run_opts, _ = sb.parse_arguments(argv)
    except SystemExit:
        raise ValueError(
            "Expected run options as SpeechBrain has them, got "
            f"{' '.join(errors.getvalue().split('error:')[-1].split())}."
        ) from None
    given = run_opts.overridden_args | set(numbers)
    return dataclasses.replace(run_opts, overridden_args=given, **numbers)


def _parse_number(name: str, text: str, kind: type) -> Any:
    """Read a number as Python or YAML writes it (`.inf`)."""
    least = _LEAST_OPTIONS.get(name)
    try:
        value = kind(text.strip().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        value = None
    if value is None or (least is not None and not least <= value < math.inf):
        number = "a whole number" if kind is int else "a number"
        bound = "" if least is None else f" of at least {least:g}"
        raise ValueError(
            f"Expected {number}{bound} for --{name}, got {text}: change "
            f"--{name}."
        )
    return value


def _check_device(typed: Mapping[str, str]) -> None:
    backend = typed.get("distributed_backend", "nccl")
    if backend not in _BACKENDS:
        raise ValueError(
            f"Expected --distributed_backend {', '.join(_BACKENDS)}, got "
            f"{backend}: change --distributed_backend."
        )
    try:
        torch.device(typed.get("device", "cpu"))
    except RuntimeError as error:
        raise ValueError(
            f"Expected --device cpu, cuda or cuda:<number>, got "
            f"{typed['device']}: change --device."
        ) from error


def _check_abbreviation(name: str) -> None:
    if name in RUN_OPTIONS or not name:
        return
    whole = [option for option in RUN_OPTIONS if option.startswith(name)]
    if whole:
        raise ValueError(
            "Expected a key of the YAML file or a run option, got "
            f"--{name}: write out --{' or --'.join(whole)}."
        )


def _check_keys(
    values: Collection[str], keys: Collection[str], path: str
) -> None:
    for key in values:
        if key in keys:
            continue
        options = [*keys, *RUN_OPTIONS]
        close = difflib.get_close_matches(key, options, 1)
        suggestion = f", did you mean --{close[0]}?" if close else "."
        raise ValueError(
            f"Expected a key of {path}, got --{key}{suggestion} Its keys are "
            f"{', '.join(sorted(keys))}."
        )
