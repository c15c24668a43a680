"""Read files that may not answer: regular files only, slow ones are named."""

import logging
import os
import stat
import threading
import time
from types import TracebackType

# Not SpeechBrain's, which is silent on all ranks but the first: each rank, and
# each of its workers, reads other files.
logger = logging.getLogger(__name__)

Path = str | os.PathLike[str]

# A read that takes so long is reported: a network file system that lost its
# server answers never, and a training run that waits looks like one that works.
SLOW_SECONDS = 30.0
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def check_regular_file(path: Path) -> os.stat_result:
    """Raise if a path is not that of a regular file, or of a link to one.

    To open anything else may take for ever: a FIFO waits for its writer.

    Arguments
    ---------
    path : str or os.PathLike
        The file.

    Returns
    -------
    os.stat_result
        The file's size and times.

    Raises
    ------
    FileNotFoundError
        There is nothing at the path.
    OSError
        There is something else: the message says what.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> os.mkfifo(folder / "a.wav")
    >>> check_regular_file(folder / "a.wav")  # +ELLIPSIS
    Traceback (most recent call last):
    ...
    OSError: Expected a regular file, got a FIFO (named pipe) at ...
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kinds = (kind for test, kind in _KINDS if test(status.st_mode))
        raise OSError(
            f"Expected a regular file, got {next(kinds, 'something else')} at "
            f"{os.fspath(path)}: remove it, or change the path"
        )
    return status


class warn_if_slow:
    """Warn, once for each file, where a `with` block takes too long.

    A thread of the process looks every few seconds at what is being read, so
    that a read that never ends is named too. To enter and leave the block
    takes about a microsecond.

    Arguments
    ---------
    path : str or os.PathLike
        What the block reads.

    Example
    -------
    >>> with warn_if_slow("a.wav"):
    ...     pass
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        _blocks[id(self)] = (self._path, time.monotonic())
        if _watchers.current is None:
            _watchers.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _blocks.pop(id(self), None)


# What is being read, and since when: by block, since threads read too.
_blocks: dict[int, tuple[Path, float]] = {}
_reported: set[Path] = set()


class _Watchers:
    """The thread that looks at `_blocks`, while there are any."""

    def __init__(self) -> None:
        self.current: threading.Thread | None = None

    def start(self) -> None:
        thread = threading.Thread(target=self._watch, daemon=True)
        self.current = thread
        thread.start()

    def forget(self) -> None:
        # A process that was forked has none of its parent's threads.
        self.current = None
        _blocks.clear()

    def _watch(self) -> None:
        while True:
            time.sleep(SLOW_SECONDS / 4)
            # First, so that a block that begins now starts another thread.
            self.current = None
            blocks = list(_blocks.values())
            if not blocks:
                return
            self.current = threading.current_thread()
            now = time.monotonic()
            for path, started in blocks:
                if now - started > SLOW_SECONDS and path not in _reported:
                    _reported.add(path)
                    logger.warning(
                        "Reading %s takes more than %.0f s: its disk or "
                        "network file system does not answer. Everything "
                        "waits for it: check the file system, or leave the "
                        "file out.",
                        os.fspath(path),
                        SLOW_SECONDS,
                    )


_watchers = _Watchers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watchers.forget)
