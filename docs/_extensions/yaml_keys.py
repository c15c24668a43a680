"""Tables of YAML keys, from the comments that stand beside them.

`.. yaml-keys:: hparams/simclr_ssps.yaml` lists every key of the file: its
default, and the comment on its line. A key that holds an object is described by
the first line of its class's docstring. An overlay's key without a comment has
that of the files it is laid over.
"""

import importlib
import inspect
import pathlib
import re
from dataclasses import dataclass, field

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

ROOT = pathlib.Path(__file__).parents[2]
_SECTION = re.compile(r"^# -+ (.+)$")
_KEY = re.compile(r"^([A-Za-z]\w*):(.*)$")
# An argument of an object, with a comment.
_ARGUMENT = re.compile(r"^ {4}(\w+):(.*?) # (.+)$")
_OBJECT = re.compile(r"!(new|name|apply):([\w.]+)")
# Containers, of which HyperPyYAML misreads a comment.
_CONTAINERS = {
    "crop_groups": "Which crops are cut of an utterance, a group a length.",
    "modules": "What is moved to the device, trained and wrapped for DDP.",
}


@dataclass
class Key:
    """A key of a YAML file."""

    name: str
    value: str
    comment: str
    section: str
    classes: tuple[str, ...] = ()
    arguments: list["Key"] = field(default_factory=list)

    @property
    def description(self):
        """Return the comment, or what the key's class says of itself."""
        if self.comment:
            return self.comment
        if self.name in _CONTAINERS:
            return _CONTAINERS[self.name]
        return summary_of(self.classes[0]) if self.classes else ""


def read_keys(path):
    """Read the keys of a YAML file, in order."""
    keys, section = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        heading = _SECTION.match(line)
        if heading:
            if not heading[1].startswith("end of"):
                section = heading[1]
            continue
        found = _KEY.match(line)
        if found:
            value, _, comment = found[2].partition(" #")
            keys.append(Key(found[1], value.strip(), comment.strip(), section))
        argument = _ARGUMENT.match(line)
        if argument and keys:
            name, value, comment = argument.groups()
            keys[-1].arguments.append(
                Key(name, value.strip(), comment.strip(), section)
            )
        if keys and not line.startswith("#"):
            body = line.partition(" #")[0] if found or line[:1] == " " else ""
            classes = tuple(match[1] for match in _OBJECT.findall(body))
            keys[-1].classes += classes
    for key in keys:
        key.value = shown_value(key)
    return keys


def shown_value(key):
    """Return a key's default as it is read, objects by their class."""
    tagged = _OBJECT.match(key.value)
    if tagged:
        return tagged[2]
    return key.value.removeprefix("!ref ") or ", ".join(key.classes)


def summary_of(dotted):
    """Return the first line of the docstring of a class or function."""
    module, _, name = dotted.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), name)
    except ImportError:  # an optional dependency of an overlay
        return ""
    text = (inspect.getdoc(value) or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


def known_comments():
    """Map keys to the comments of the first file that has one."""
    comments = {}
    for path in yaml_files():
        for key in read_keys(path):
            if key.description:
                comments.setdefault(key.name, key.description)
    return comments


def is_overlay(path):
    """Whether a file is laid over others: it describes no framework."""
    return not any(key.name == "framework" for key in read_keys(path))


class YamlKeys(SphinxDirective):
    """A table of the keys of a YAML file, section by section."""

    required_arguments = 1
    option_spec = {"without": str}

    def run(self):
        """Build a table for each section of the file."""
        path = ROOT / self.arguments[0]
        self.env.note_dependency(str(path))
        left_out = set()
        if "without" in self.options:
            twin = ROOT / self.options["without"]
            self.env.note_dependency(str(twin))
            left_out = {(k.name, k.value) for k in read_keys(twin)}
        comments = known_comments() if is_overlay(path) else {}
        tables, section, rows = [], None, []
        for key in read_keys(path):
            if (key.name, key.value) in left_out:
                continue
            if key.section != section and section and rows:
                tables += self.table(section, rows)
                rows = []
            section = key.section
            text = key.description or comments.get(key.name, "")
            rows.append((key.name, key.value, text))
            rows += [
                (f"{key.name}: {argument.name}", value, argument.comment)
                for argument in key.arguments
                for value in [shown_value(argument)]
            ]
        return tables + self.table(section, rows)

    def table(self, section, rows):
        """Build a table of keys, defaults and comments."""
        lines = []
        if section:
            lines += [f".. rubric:: {section}", ""]
        lines += [
            ".. list-table::",
            "   :header-rows: 1",
            "   :widths: 26 30 44",
            "   :class: yaml-keys",
            "",
            "   * - key",
            "     - default",
            "     - what it is",
        ]
        for name, value, text in rows:
            shown = _literal(_shorten(value)) if value else ""
            lines += [
                f"   * - {_literal(name)}",
                f"     - {shown}",
                f"     - {_escape(text)}",
            ]
        container = nodes.container()
        container += self.parse_text_to_nodes("\n".join(lines))
        return [container]


class YamlOverlays(YamlKeys):
    """The tables of all overlays, each with what its file says of itself."""

    required_arguments = 0

    def run(self):
        """Build the tables of each file that describes no framework."""
        found = []
        for path in yaml_files():
            if is_overlay(path):
                name = path.relative_to(ROOT).as_posix()
                found.append(nodes.rubric(name, name, heading_level=3))
                text = "\n".join(opening_comment(path))
                found += self.parse_text_to_nodes(text)
                self.arguments = [name]
                found += super().run()
        return found


def yaml_files():
    """List the YAML files of the package."""
    return sorted((ROOT / "hparams").rglob("*.yaml"))


def opening_comment(path):
    """Return the comment at the top of a file, its commands as blocks."""
    lines, was_code = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or _SECTION.match(line):
            break
        text = line.removeprefix("#").removeprefix(" ").rstrip()
        is_code = text.startswith("    ")
        if is_code and not was_code:
            lines += [".. code-block:: bash", ""]
        lines.append(text if is_code else _escape(text))
        was_code = is_code
    return [line.removeprefix("Overlay: ") for line in lines]


def _literal(text):
    return f":name:`{text}`" if "`" not in text else text


def _shorten(value):
    """Name an object by its last two parts: its room and its class."""
    if re.fullmatch(r"[\w.]+\.[A-Z]\w*", value):
        return value.rpartition(".")[2]
    return value


def _escape(text):
    """Keep comments' asterisks, bars and underscores as they are."""
    return re.sub(r"([*|])", r"\\\1", text)


def setup(app):
    """Register the directive."""
    app.add_directive("yaml-keys", YamlKeys)
    app.add_directive("yaml-overlays", YamlOverlays)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
