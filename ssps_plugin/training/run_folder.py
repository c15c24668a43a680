"""The folder of a run: that it can be written, and that one process does."""

import datetime
import fcntl
import os
import pathlib
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

LOCK_NAME = ".run.lock"
# What a run that ended early may leave before its configuration is saved.
_FIRST_FILES = {"data", "env.log", "log.txt", "save", "train_ssl.py", "verify"}
_FIRST_FILES |= {"hyperparams.yaml.damaged"}
# What a finished run is looked at for.
_RESULTS = {
    "results.json": "error rates and a threshold",
    "curves.png": "the training",
    "history.json": "every epoch",
    "save": "checkpoints",
}
# Files that a message names.
_NUM_SHOWN = 3

_open_locks: set[int] = set()


@contextmanager
def hold_output_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Make an output folder, and keep other runs out of it in a `with` block.

    The lock is the operating system's: it ends with the process, however that
    ends. On a file system without locks there is a warning.

    Arguments
    ---------
    folder : str or os.PathLike
        The run's folder.

    Raises
    ------
    OSError
        It is no folder, or cannot be written; the message names it.
    RuntimeError
        Another process holds it; the message says which.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "out"
    >>> with hold_output_folder(folder), hold_output_folder(folder):
    ...     pass
    Traceback (most recent call last):
    ...
    RuntimeError: Expected no other run in output_folder ...
    """
    try:
        _make_folder(pathlib.Path(folder))
        lock = _open_lock(pathlib.Path(folder, LOCK_NAME))
    except OSError as error:
        raise OSError(
            error.errno,
            f"Expected an output_folder that can be written, got {folder}: "
            f"{error.strerror or error}. Make room or give rights, or change "
            "output_folder",
        ) from None
    _open_locks.add(lock)
    try:
        yield
    finally:
        _open_locks.discard(lock)
        os.close(lock)


def find_foreign_files(folder: str | os.PathLike[str]) -> list[str]:
    """Find files in an output folder that is not a run's.

    Arguments
    ---------
    folder : str or os.PathLike
        The folder; it need not be there.

    Returns
    -------
    list of str
        The names, sorted; none where a run has saved its configuration.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "thesis.txt").write_text("")
    >>> find_foreign_files(folder)
    ['thesis.txt']
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    if "hyperparams.yaml" in names:
        return []
    return sorted(
        name
        for name in names
        if not name.startswith(".") and name not in _FIRST_FILES
    )


def describe_foreign_files(
    folder: str | os.PathLike[str], names: list[str]
) -> str:
    """Say which files of one's own are in an output folder."""
    shown = ", ".join(names[:_NUM_SHOWN])
    more = len(names) - _NUM_SHOWN
    return (
        f"output_folder {folder} is no run's folder: {shown}"
        f"{f' and {more} more' if more > 0 else ''} are in it. The run writes "
        "its files beside them, over those of the same names: for a folder of "
        "its own, change output_folder."
    )


def describe_next_steps(folder: str | os.PathLike[str]) -> str:
    """Say what is in the folder of a finished run, and what it is good for.

    Arguments
    ---------
    folder : str or os.PathLike
        The run's folder.

    Returns
    -------
    str
        A few lines, with commands to copy.

    Example
    -------
    >>> print(describe_next_steps("results/a"))
    Done.
    Next:
      ssps report results/a               # what SSPS did, as a page to look at
      ssps compare results/a A.wav B.wav  # are these the same speaker?
      ssps export results/a FOLDER        # a model for SpeechBrain, to hand on
    """
    run = shlex.quote(os.fspath(folder))
    found = [
        f"{name} ({what})"
        for name, what in _RESULTS.items()
        if pathlib.Path(folder, name).exists()
    ]
    commands = {
        f"ssps report {run}": "what SSPS did, as a page to look at",
        f"ssps compare {run} A.wav B.wav": "are these the same speaker?",
        f"ssps export {run} FOLDER": "a model for SpeechBrain, to hand on",
    }
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  # {use}" for name, use in commands.items()]
    done = f"Done. In {folder}: {', '.join(found)}." if found else "Done."
    return "\n".join([done, "Next:", *lines])


def _make_folder(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        # A link that leads nowhere "exists", too.
        file = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
        raise NotADirectoryError(
            error.errno, f"{file} is there, and is no folder"
        ) from None


def _open_lock(path: pathlib.Path) -> int:
    """Open and lock a file, and write into it who holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 1000, 0).decode(errors="replace").strip()
            raise RuntimeError(
                f"Expected no other run in output_folder {path.parent}, got "
                f"{holder or 'one by another process'}: wait until it has "
                "ended, end it, or change output_folder."
            ) from None
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): see to it that no second run "
                "writes into %s.",
                path,
                error.strerror,
                path.parent,
            )
        now = datetime.datetime.now().astimezone()
        text = (
            f"process {os.getpid()} on {socket.gethostname()}, since "
            f"{now:%Y-%m-%d %H:%M:%S %z}\n"
        ).encode()
        os.ftruncate(lock, 0)
        os.pwrite(lock, text, 0)
        os.fsync(lock)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _close_in_child() -> None:
    # Workers that outlive a killed run for a moment would hold its lock.
    for lock in _open_locks:
        with suppress(OSError):
            os.close(lock)
    _open_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)
