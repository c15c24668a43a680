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
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        yield file


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a file that replaces `path` when the block has ended.

    For what is not text, or is written by somebody else's function. Missing
    parent folders are made.

    Arguments
    ---------
    path : str or os.PathLike
        The file that is to be there.

    Yields
    ------
    path : pathlib.Path
        In the same folder; renamed at the end, removed if the block raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, since a rename is atomic on one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: str | os.PathLike[str]) -> None:
    """Write a file, or a folder's names, from the system's memory to the disk.

    Without it a machine that loses power may keep the new name and lose what
    it names. Systems that cannot flush a folder are passed over.

    Arguments
    ---------
    path : str or os.PathLike
        A file or a folder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError:
        if not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)
