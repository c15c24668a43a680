"""Read the package's docstrings: `Source:` lines, and backticks for code.

Docstrings are NumPy style with a line `Source: ...` at their end, which
napoleon would take for one more entry of the section above it. Single backticks
hold code; where the code is a public name, it links to it.
"""

import re

from docutils import nodes
from public_names import public_paths
from sphinx import addnodes

_SOURCE = re.compile(r"^Source: ?")


def separate_source(app, what, name, obj, options, lines):
    """Turn a paragraph `Source: ...` into a section of its own."""
    for number, line in enumerate(lines):
        if _SOURCE.match(line):
            end = number
            while end < len(lines) and lines[end]:
                end += 1
            text = [_SOURCE.sub("", line), *lines[number + 1 : end]]
            rest = lines[end:]
            lines[number:] = ["Source", "------", *text, *rest]
            return


def name_role(role, rawtext, text, lineno, inliner, options=None, content=None):
    """Show code; link it where it is the name of something public."""
    code = nodes.literal(rawtext, nodes.unescape(text), classes=["code"])
    name = nodes.unescape(text).removesuffix("()")
    # Many a method and argument has the name of a function elsewhere.
    is_class = name.rpartition(".")[2][:1].isupper()
    target = public_paths().get(name)
    if not is_class and (target or "").count(".") != 1:
        target = None
    if target is None:
        return [code], []
    reference = addnodes.pending_xref(
        rawtext,
        code,
        refdomain="py",
        reftype="obj",
        reftarget=target,
        refexplicit=False,
        refwarn=False,
    )
    return [reference], []


def setup(app):
    """Connect before napoleon does."""
    app.connect("autodoc-process-docstring", separate_source, priority=100)
    app.add_role("name", name_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
