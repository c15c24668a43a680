"""Links to files of the repository: `[train.py](repo:recipes/dropin/train.py)`.

They lead to the repository's page; without its address (`repository_url`) the
file is named only. A file that does not exist is a warning.
"""

import pathlib

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
SCHEME = "repo:"


def resolve_files(app, doctree):
    """Turn `repo:` links into addresses, or into names of files."""
    root = pathlib.Path(app.srcdir).parent
    for link in list(doctree.findall(nodes.reference)):
        uri = link.get("refuri", "")
        if not uri.startswith(SCHEME):
            continue
        path = uri.removeprefix(SCHEME)
        if not (root / path).exists():
            logger.warning("no file %s in the repository", path, location=link)
        if app.config.repository_url:
            link["refuri"] = f"{app.config.repository_url}/blob/main/{path}"
        else:
            link.replace_self(nodes.literal(path, path))


def setup(app):
    """Register the links."""
    app.add_config_value("repository_url", None, "env")
    app.connect("doctree-read", resolve_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
