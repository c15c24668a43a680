"""Write files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file that replaces `path` only when it is complete.

    A run that is killed while it writes leaves the previous file, never half
    of a new one. Missing parent folders are made.

    Arguments
    ---------
    path : str or os.PathLike
        The file to write (UTF-8).

    Yields
    ------
    file : TextIO
        Open for writing, in the same folder; renamed at the end, removed if
        the block raises.

    Example
    -------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "scores.txt"
    >>> with atomic_write(path) as file:
    ...     _ = file.write("0.5 a b")
    ...     path.exists()
    False
    >>> path.read_text()
    '0.5 a b'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic on one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
