"""Lengths of audio files, kept from one preparation to the next."""

import hashlib
import os
from collections import deque
from contextlib import suppress

from ssps_plugin.dataio.audio import check_audio

#: The environment variable that names another folder; empty: no cache.
CACHE_VARIABLE = "SSPS_PLUGIN_CACHE"
# To be raised when `check_audio` accepts other files than it did.
_VERSION = 2


class HeaderCache:
    """Cache of the lengths of a corpus's files, while they do not change.

    A text file in the user's cache folder, `ssps_plugin/headers/` below
    `$XDG_CACHE_HOME` or `~/.cache`, or `headers/` below the folder that the
    environment variable `SSPS_PLUGIN_CACHE` names: a row for each audio file
    that passed, with its size and modification time. Rows are only appended,
    so a preparation that is killed goes on where it was, and a row that was
    cut off fits no file. It can be deleted at any time; where it cannot be
    written, files are read again.

    Arguments
    ---------
    data_folder : str or os.PathLike
        The corpus. Nothing is written there.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path") / "data"
    >>> getfixture("monkeypatch").setenv(
    ...     CACHE_VARIABLE, str(getfixture("tmp_path"))
    ... )
    >>> folder.mkdir()
    >>> soundfile.write(folder / "a.wav", [0.0] * 16000, 16000)
    >>> first, second = HeaderCache(folder), HeaderCache(folder)
    >>> first.read_seconds("a.wav")
    1.0
    >>> first.save()
    >>> len(second), len(HeaderCache(folder))
    (0, 1)
    """

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        self.data_folder = os.path.abspath(data_folder)
        self.path = _cache_path(self.data_folder)
        self._new: deque[str] = deque()
        self._cached = _read_cache(self.path) if self.path else {}

    def __len__(self) -> int:
        """Return the number of files that were in the cache at the start."""
        return len(self._cached)

    def read_seconds(self, path: str) -> float:
        """Return a file's length, from the cache or by `check_audio`.

        Threads may call it at the same time. A file that `check_audio`
        refuses is not cached: the reason may pass.

        Arguments
        ---------
        path : str
            Relative to the data folder, printable.

        Returns
        -------
        float
            Its length in seconds.

        Raises
        ------
        AudioError
            As `check_audio` does.
        """
        full_path = os.path.join(self.data_folder, path)
        try:
            status = os.stat(full_path)
        except OSError:
            return check_audio(full_path)
        key = f"{status.st_size}\t{status.st_mtime_ns}\t{path}"
        with suppress(KeyError, ValueError):
            return float(self._cached[key])
        seconds = check_audio(full_path)
        self._new.append(f"{seconds!r}\t{key}\n")
        return seconds

    def save(self) -> None:
        """Append what was read since the last call, in one write."""
        rows = [self._new.popleft() for _ in range(len(self._new))]
        if not rows or not self.path:
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                file.write("".join(rows).encode())
        except OSError:
            self.path = ""  # a full disk, or one that is read-only


def find_cache_folder() -> str:
    """Return the user's cache folder, empty where there is to be none.

    Returns
    -------
    str
        What the environment variable `SSPS_PLUGIN_CACHE` names or, where it is
        not set, `ssps_plugin` below `$XDG_CACHE_HOME` or `~/.cache`. It need
        not be there.

    Example
    -------
    >>> getfixture("monkeypatch").setenv(CACHE_VARIABLE, "/scratch/cache")
    >>> find_cache_folder()
    '/scratch/cache'
    """
    folder = os.environ.get(CACHE_VARIABLE)
    if folder is None:
        home = os.path.expanduser("~")
        caches = os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
        folder = os.path.join(caches, "ssps_plugin")
        if not os.path.isabs(folder):
            return ""
    return os.path.abspath(folder) if folder else ""


def _cache_path(data_folder: str) -> str:
    """Return the path of a corpus's cache, empty where there can be none."""
    folder = find_cache_folder()
    if not folder:
        return ""
    name = f"{_VERSION} {data_folder}".encode(errors="surrogateescape")
    digest = hashlib.sha256(name).hexdigest()[:32]
    return os.path.join(folder, "headers", f"{digest}.tsv")


def _read_cache(path: str) -> dict[str, str]:
    """Return seconds by `<size> <mtime_ns> <path>`, both as written."""
    cached = {}
    with (
        suppress(OSError),
        open(path, encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        for row in file:
            seconds, _, key = row.rstrip("\n").partition("\t")
            cached[key] = seconds
    return cached
