"""The public names: what `ssps_plugin` and its rooms export in `__all__`.

`.. public-names:: ssps_plugin.losses` documents every name that the room
exports: a table first, then each of them. A name that `ssps_plugin` itself
exports is documented by that path, wherever it is shown.
"""

import functools
import importlib
import inspect
import pkgutil

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import ssps_plugin

# Modules without a folder of their own that YAML files and recipes name.
LOOSE_MODULES = ("ssps_plugin.heads",)


@functools.cache
def rooms():
    """List the packages below `ssps_plugin` that export names."""
    found = ["ssps_plugin"]
    for module in pkgutil.iter_modules(ssps_plugin.__path__, "ssps_plugin."):
        if module.ispkg:
            package = importlib.import_module(module.name)
            if getattr(package, "__all__", None):
                found.append(module.name)
    return [*found, *LOOSE_MODULES]


def names_of(room):
    """List what a room exports, in order."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and getattr(value, "__module__", None) == room
        ]
    return [n for n in names if not inspect.ismodule(getattr(module, n))]


@functools.cache
def public_paths():
    """Map each public name to the path by which it is documented."""
    documented, paths = {}, {}
    for room in rooms():
        for name in names_of(room):
            value = getattr(importlib.import_module(room), name)
            path = documented.setdefault(_key(value), f"{room}.{name}")
            for spelling in (name, f"{room}.{name}"):
                paths.setdefault(spelling, path)
    return paths


def _key(value):
    return getattr(value, "__module__", ""), getattr(
        value, "__qualname__", id(value)
    )


class PublicNames(SphinxDirective):
    """Document the names of a room, or those of its names that are listed.

    The names in `:elsewhere:` are in the table only: another page documents
    them. `all` means every name.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"elsewhere": str}

    def run(self):
        """Parse a table of the names and their documentation."""
        room = self.arguments[0]
        listed = [name for line in self.content for name in line.split()]
        elsewhere = self.options.get("elsewhere", "").split()
        paths = public_paths()
        documented = {
            paths[f"{room}.{name}"]: {name, "all"} & set(elsewhere)
            for name in listed or names_of(room)
        }
        text = [".. autosummary::", "   :nosignatures:", ""]
        text += [f"   ~{path}" for path in documented]
        for path, is_elsewhere in documented.items():
            kind = "class" if inspect.isclass(_find(path)) else "function"
            if not is_elsewhere:
                text += ["", f".. auto{kind}:: {path}", ""]
        source = inspect.getsourcefile(importlib.import_module(room))
        self.env.note_dependency(source)
        container = nodes.container()
        container += self.parse_text_to_nodes("\n".join(text))
        return [container]


def _find(path):
    room, _, name = path.rpartition(".")
    return getattr(importlib.import_module(room), name)


def setup(app):
    """Register the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
