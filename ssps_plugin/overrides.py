"""Values laid over a YAML tree: an object of another class replaces whole."""

from collections.abc import Mapping, MutableMapping
from typing import Any


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
