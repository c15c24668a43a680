"""A recipe's configuration: YAML, an overlay, and the command line."""

import datetime
import difflib
import io
import itertools
import logging
import pathlib
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ruamel.yaml
import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.run_opts import RunOptions

from ssps_plugin.atomic_write import atomic_write

logger = logging.getLogger(__name__)

Overrides = dict[str, Any]


@dataclass
class Configuration:
    """What a command line asks for.

    Arguments
    ---------
    hparams_file : pathlib.Path
        The YAML file.
    run_opts : RunOptions
        SpeechBrain's run options.
    overrides : dict
        Values to lay over the file: those of the overlay, then those of the
        command line.
    notes, warnings : list of str
        What should be said in the log once there is one.
    overlays : list of pathlib.Path
        The overlays laid so far.
    root : pathlib.Path, optional
        A folder that relative overlays are looked for in last.
    """

    hparams_file: pathlib.Path
    run_opts: Any
    overrides: Overrides
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    overlays: list[pathlib.Path] = field(default_factory=list)
    root: pathlib.Path | None = None

    def __getitem__(self, key: str) -> Any:
        """Value of a plain key: overridden, or as in the file."""
        if key in self.overrides:
            return self.overrides[key]
        return _read(self.hparams_file)[key]

    def text(self) -> io.StringIO:
        """Return the file with its overrides, references not yet resolved."""
        tree = _read(self.hparams_file)
        apply_overrides(tree, self.overrides)
        text = io.StringIO()
        _yaml().dump(tree, text)
        text.seek(0)
        text.name = str(self.hparams_file)  # what !include starts from
        return text

    def load(self) -> dict[str, Any]:
        """Make the objects that it describes."""
        hparams: dict[str, Any] = load_hyperpyyaml(self.text())
        return hparams

    def save(self, folder: str | pathlib.Path) -> None:
        """Write `hyperparams.yaml`, which loads without any override."""
        with atomic_write(pathlib.Path(folder, "hyperparams.yaml")) as file:
            file.write(f"# Generated {datetime.date.today()} from:\n")
            file.write(f"# {self.hparams_file.absolute()}\n")
            file.write("# yamllint disable\n")
            file.write(resolve_references(self.text()).read())

    def resolved(self, key: str) -> Any:
        """Value of a plain key, its references to others resolved."""
        return self.settings()[key]

    def settings(self) -> dict[str, Any]:
        """Return the plain keys' values, references to others resolved."""
        tree = _yaml().load(resolve_references(self.text()))
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in tree.items()
            if _is_plain(value)
        }

    def lay_over(self, overlay: str | pathlib.Path) -> None:
        """Lay an overlay over the file; what is overridden already stays.

        Keys that the file does not have are left out, so that one overlay
        serves several files.
        """
        path = _find_overlay(overlay, self.hparams_file, self.root)
        known = _read(self.hparams_file)
        values = dict(_read(path))
        unused = [key for key in values if key not in known]
        for key in unused:
            self._note_mistyped(key, known, path)
            del values[key]
        self.overrides = {**values, **self.overrides}
        self.overlays.append(path)
        # The saved configuration holds the values: it needs no overlay.
        self.overrides["overlay"] = None
        self.notes.append(f"Overlay {path} is laid over {self.hparams_file}.")
        if unused:
            self.notes.append(
                f"{self.hparams_file} has no use for {', '.join(unused)}."
            )

    def _note_mistyped(
        self, key: str, known: Mapping[str, Any], path: pathlib.Path
    ) -> None:
        """An overlay may serve several files; a key that is near is a slip."""
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.88)
        if close:
            self.warnings.append(
                f"{key} in {path} does nothing: {self.hparams_file} has no "
                f"such key, did you mean {close[0]}?"
            )


def parse_configuration(
    argv: Sequence[str], root: str | pathlib.Path | None = None
) -> Configuration:
    """Parse a command line in SpeechBrain's convention.

    Arguments
    ---------
    argv : sequence of str
        `hparams/x.yaml --key value ...`, without the program's name.
    root : str or pathlib.Path, optional
        A folder that relative overlays are looked for in last: that of the
        recipes, where a YAML is a copy that lies elsewhere.

    Returns
    -------
    Configuration
        With the overlay laid over it, if the key `overlay` names one.

    Raises
    ------
    FileNotFoundError
        No such YAML file or overlay.
    ValueError
        A key that the YAML file does not have, or an abbreviated run option,
        which SpeechBrain would swallow.

    Example
    -------
    >>> path = getfixture("tmp_path") / "x.yaml"
    >>> _ = path.write_text("seed: 1\\noverlay: null\\n")
    >>> parse_configuration([str(path), "--seed", "2"])["seed"]
    2
    """
    if argv and not argv[0].startswith("-"):
        if not pathlib.Path(argv[0]).is_file():
            saved = pathlib.Path(argv[0], "hyperparams.yaml")
            raise FileNotFoundError(
                f"Expected a YAML file, such as hparams/simclr_ssps.yaml, "
                f"found no file {argv[0]} in {pathlib.Path.cwd()}"
                + (f": give {saved}." if saved.is_file() else ".")
            )
        _check_options(argv[1:])
    hparams_file, run_opts, overrides = sb.parse_arguments(list(argv))
    values = dict(_yaml().load(overrides) or {})
    _check_known(values, _read(hparams_file), hparams_file)
    configuration = Configuration(
        pathlib.Path(hparams_file),
        run_opts,
        values,
        root=None if root is None else pathlib.Path(root),
    )
    overlay = configuration["overlay"]
    if overlay is not None:
        configuration.lay_over(overlay)
    return configuration


def _yaml() -> ruamel.yaml.YAML:
    return ruamel.yaml.YAML()


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, (str, int, float, type(None)))


def _read(path: str | pathlib.Path) -> MutableMapping[str, Any]:
    text = pathlib.Path(path).read_text(encoding="utf-8")
    tree = _yaml().load(io.StringIO(text)) or {}
    if not isinstance(tree, MutableMapping):
        raise ValueError(
            f"Expected keys and values (`key: value`) in {path}, got {tree!r}."
        )
    return tree


def _check_known(
    values: Overrides, known: Mapping[str, Any], path: str
) -> None:
    for key in values:
        if key not in known:
            raise ValueError(
                f"Unknown key --{key}: {path} has no such key"
                f"{_suggestion(key, [*known, *RunOptions().as_dict()])}. "
                f"Its keys: {', '.join(sorted(known))}."
            )


def _check_options(argv: Sequence[str]) -> None:
    """Refuse what SpeechBrain's parsing would take for something else."""
    options = RunOptions().as_dict()
    given: set[str] = set()
    for before, token in itertools.pairwise(["", *argv]):
        name = before.removeprefix("--")
        takes_value = (
            before.startswith("--")
            and "=" not in before
            and not isinstance(options.get(name), bool)
        )
        if not token.startswith("--") and not takes_value:
            raise ValueError(
                f"{token!r} on the command line follows {before!r}, which "
                "takes no value: expected --key value or --key=value."
            )
        _check_abbreviation(token, options)
        key = token.partition("=")[0]
        if token.startswith("--") and key in given:
            raise ValueError(f"{key} is given twice on the command line.")
        given.add(key)


def _check_abbreviation(token: str, options: Mapping[str, Any]) -> None:
    name = token.removeprefix("--").partition("=")[0]
    if not token.startswith("--") or name in options:
        return
    abbreviated = [option for option in options if option.startswith(name)]
    if abbreviated:
        raise ValueError(
            f"--{name} is neither a key of the YAML file nor a run option; "
            f"write out --{' or --'.join(abbreviated)}."
        )


def _suggestion(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f", did you mean --{close[0]}?" if close else ""


def _find_overlay(
    overlay: str | pathlib.Path,
    hparams_file: pathlib.Path,
    root: pathlib.Path | None,
) -> pathlib.Path:
    """Look from here, beside the YAML file, the folder above it, and root."""
    beside = hparams_file.resolve().parent
    tried = [
        pathlib.Path(overlay),
        beside / overlay,
        beside.parent / overlay,
        beside / pathlib.Path(overlay).name,
        *([] if root is None else [root / overlay]),
    ]
    for path in tried:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"Expected an overlay (a YAML with settings to lay over) at {overlay}; "
        f"looked at {', '.join(map(str, tried))}."
    )


def apply_overrides(
    tree: MutableMapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Lay values over a tree as ruamel.yaml reads it, in place.

    A mapping changes those keys that it has, as in HyperPyYAML. One with a tag
    of its own (`!new:`, `!name:`) that is not the present one's is another
    object: it takes its place, with nothing of the present one's arguments.
    (HyperPyYAML merges there too, and keeps the present tag.)

    Arguments
    ---------
    tree : dict
        Of the file.
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
            and _tag(value) in (None, _tag(present))
        ):
            apply_overrides(present, value)
        else:
            tree[key] = value


def _tag(node: Any) -> str | None:
    """Return a node's own tag; a plain mapping has none."""
    tag = getattr(getattr(node, "tag", None), "value", None)
    return None if tag is None else str(tag)
