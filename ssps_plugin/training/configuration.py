"""A recipe's configuration: a YAML file, an overlay, and the command line."""

import datetime
import difflib
import io
import itertools
import pathlib
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ruamel.yaml
import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.run_opts import RunOptions

from ssps_plugin.atomic_write import atomic_write

# A key of an overlay that the file lacks may be meant for another file; it is
# taken for a slip only where a key of the file is spelt this much like it.
_SLIP_SIMILARITY = 0.88


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
        Values that override the file's: those of the overlay, then those of
        the command line.
    notes, warnings : list of str
        Messages for the log, which is not open yet when they arise.
    overlays : list of pathlib.Path
        The overlays applied so far.
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

    def settings(self) -> dict[str, Any]:
        """Return the plain keys' values, references to others resolved."""
        tree = _yaml().load(resolve_references(self._text()))
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in tree.items()
            if _is_plain(value)
        }

    def load(self) -> dict[str, Any]:
        """Build the objects that the configuration describes."""
        hparams: dict[str, Any] = load_hyperpyyaml(self._text())
        return hparams

    def save(self, folder: str | pathlib.Path) -> None:
        """Write `hyperparams.yaml`, which loads without any override."""
        with atomic_write(pathlib.Path(folder, "hyperparams.yaml")) as file:
            file.write(f"# Generated {datetime.date.today()} from:\n")
            file.write(f"# {self.hparams_file.absolute()}\n")
            file.write("# yamllint disable\n")
            file.write(resolve_references(self._text()).read())

    def apply_overlay(self, overlay: str | pathlib.Path) -> None:
        """Override the file by a YAML file; present overrides stay.

        Keys that the file does not have are left out, so that one overlay
        serves several files.

        Arguments
        ---------
        overlay : str or pathlib.Path
            The overlay. A relative path is looked for in the working folder,
            beside the YAML file, in the folder above it, and in `root`.

        Raises
        ------
        FileNotFoundError
            No such overlay.
        """
        path = _find_overlay(overlay, self.hparams_file, self.root)
        keys = _read_yaml(self.hparams_file)
        values = _read_yaml(path)
        unused = [key for key in values if key not in keys]
        for key in unused:
            self._warn_mistyped(key, keys, path)
        values = {key: values[key] for key in values if key in keys}
        self.overrides = {**values, **self.overrides}
        self.overlays.append(path)
        # The saved configuration holds the values: it needs no overlay.
        self.overrides["overlay"] = None
        self.notes.append(
            f"The overlay {path} is applied to {self.hparams_file}."
        )
        if unused:
            self.notes.append(
                f"{self.hparams_file} has no use for {', '.join(unused)}."
            )

    def _warn_mistyped(
        self, key: str, keys: Collection[str], path: pathlib.Path
    ) -> None:
        close = difflib.get_close_matches(key, keys, 1, _SLIP_SIMILARITY)
        if close:
            self.warnings.append(
                f"{key} in {path} does nothing: {self.hparams_file} has no "
                f"such key, did you mean {close[0]}?"
            )

    def _text(self) -> io.StringIO:
        """Return the file with its overrides, references not yet resolved."""
        tree = _read_yaml(self.hparams_file)
        apply_overrides(tree, self.overrides)
        text = io.StringIO()
        _yaml().dump(tree, text)
        text.seek(0)
        text.name = str(self.hparams_file)  # what !include starts from
        return text


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
        With the overlay applied, if the key `overlay` names one.

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
    if argv and not argv[0].startswith("-"):
        _check_hparams_file(argv[0])
        _check_options(argv[1:])
    hparams_file, run_opts, overrides = sb.parse_arguments(list(argv))
    values = dict(_yaml().load(overrides) or {})
    _check_keys(values, _read_yaml(hparams_file), hparams_file)
    configuration = Configuration(
        pathlib.Path(hparams_file),
        run_opts,
        values,
        root=None if root is None else pathlib.Path(root),
    )
    overlay = configuration["overlay"]
    if overlay is not None:
        configuration.apply_overlay(overlay)
    return configuration


def apply_overrides(
    tree: MutableMapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Override the values of a YAML tree, in place.

    A mapping changes those keys that it has, as in HyperPyYAML. One with a tag
    of its own (`!new:`, `!name:`) that differs from the present one's is
    another object: it replaces the present one with all of its arguments.
    (HyperPyYAML would merge the arguments, and keep the present tag.)

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
            and _tag(value) in (None, _tag(present))
        ):
            apply_overrides(present, value)
        else:
            tree[key] = value


# -- reading YAML ----------------------------------------------------------


def _yaml() -> ruamel.yaml.YAML:
    return ruamel.yaml.YAML()


def _read_yaml(path: str | pathlib.Path) -> MutableMapping[str, Any]:
    text = pathlib.Path(path).read_text(encoding="utf-8")
    tree = _yaml().load(io.StringIO(text)) or {}
    if not isinstance(tree, MutableMapping):
        raise ValueError(
            f"Expected keys and values (`key: value`) in {path}, got {tree!r}."
        )
    return tree


def _is_plain(value: Any) -> bool:
    """Whether a value is text, a number or null, or a list of such."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, (str, int, float, type(None)))


def _tag(node: Any) -> str | None:
    """Return a node's own tag; a plain mapping has none."""
    tag = getattr(getattr(node, "tag", None), "value", None)
    return None if tag is None else str(tag)


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
                f"Expected --key value or --key=value, got {token!r} after "
                f"{before!r}, which takes no value."
            )
        _check_abbreviation(token, options)
        key = token.partition("=")[0]
        if token.startswith("--") and key in given:
            raise ValueError(f"Expected {key} once, got it twice.")
        given.add(key)


def _check_abbreviation(token: str, options: Mapping[str, Any]) -> None:
    name = token.removeprefix("--").partition("=")[0]
    if not token.startswith("--") or name in options:
        return
    whole = [option for option in options if option.startswith(name)]
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
        options = [*keys, *RunOptions().as_dict()]
        close = difflib.get_close_matches(key, options, 1)
        suggestion = f", did you mean --{close[0]}?" if close else "."
        raise ValueError(
            f"Expected a key of {path}, got --{key}{suggestion} Its keys are "
            f"{', '.join(sorted(keys))}."
        )
