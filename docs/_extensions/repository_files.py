"""Links to files of the repository beyond docs, such as `../setup.py`.

Read where the repository is, such a link leads to the file. On the site it
leads to the file's page at the repository's address (`repository_url`).
"""

import os
import pathlib

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


class LinkRepositoryFiles(SphinxTransform):
    """Turn links to files outside of docs into addresses."""

    # Before files that are linked to are copied as downloads.
    default_priority = 5

    def apply(self, **kwargs):
        """Replace the nodes that MyST has made of such links."""
        for kind in (addnodes.download_reference, addnodes.pending_xref):
            for link in list(self.document.findall(kind)):
                path = self._path_of(link)
                if path is not None:
                    link.replace_self(self._reference(link, path))

    def _path_of(self, link):
        """Return the repository's path of a file beyond docs, or None."""
        if link.get("reftype") != "myst":
            return None
        source = pathlib.Path(self.env.srcdir).resolve()
        folder = (source / self.env.docname).parent
        target = link["reftarget"].partition("#")[0]
        for start, suffix in ((folder, ""), (source, ""), (source, ".md")):
            path = pathlib.Path(os.path.normpath(start / f"{target}{suffix}"))
            beyond = path.is_relative_to(source.parent) and not (
                path.is_relative_to(source)
            )
            if target and beyond and path.exists():
                return path.relative_to(source.parent).as_posix()
        return None

    def _reference(self, link, path):
        anchor = link.get("reftargetid")
        address = f"{self.config.repository_url}/blob/main/{path}"
        return nodes.reference(
            "",
            "",
            *link.children,
            refuri=f"{address}#{anchor}" if anchor else address,
            internal=False,
        )


def setup(app):
    """Register the links."""
    app.add_config_value("repository_url", None, "env")
    app.add_transform(LinkRepositoryFiles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
