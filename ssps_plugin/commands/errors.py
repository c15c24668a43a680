"""One clear message for a user's error, and an exit status."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

#: Set it to 1, and errors are shown with their traceback.
DEBUG_VARIABLE = "SSPS_DEBUG"

#: What a user can mend: a setting, a file, a full disk, a missing package.
#: Anything else is a fault of the program, and keeps its traceback.
USER_ERRORS = (ValueError, RuntimeError, OSError, ImportError, MemoryError)

_FAILED = 1
# As this package words its own errors; of others, the traceback may help.
_OWN_WORDS = ("Expected ", "No room left")


def run_with_messages(
    function: Callable[[], object], debug: bool = False
) -> int:
    """Run a function; say on standard error what went wrong, if anything did.

    The traceback goes to the log files that are open. It is raised as it is
    with `debug`, or where the variable SSPS_DEBUG is set.

    Arguments
    ---------
    function : callable
        What is run. An int that it returns is the exit status.
    debug : bool
        Raise errors as they are.

    Returns
    -------
    int
        The exit status: 0, or 1 after an error, or 2 after a wrong usage.

    Example
    -------
    >>> run_with_messages(lambda: None)
    0
    >>> run_with_messages(lambda: int("x"), debug=True)
    Traceback (most recent call last):
    ...
    ValueError: invalid literal for int() with base 10: 'x'
    """
    debug = debug or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    try:
        status = function()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return _end_by_interrupt()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        return _end_by_closed_pipe()
    except KeyboardInterrupt:
        if debug:
            raise
        return _end_by_interrupt()
    except USER_ERRORS as error:
        if debug:
            raise
        _log_traceback(error)
        click.echo(describe_error(error), err=True)
        return _FAILED
    return status if isinstance(status, int) else 0


def describe_error(error: BaseException) -> str:
    """Return the message of an error, as a command prints it.

    Arguments
    ---------
    error : BaseException
        What was raised.

    Returns
    -------
    str
        Beginning with `Error:`; under torchrun also with the process that it
        is of. Of an error that is not worded by this package, it says how to
        see the traceback.

    Example
    -------
    >>> describe_error(ValueError("Expected a rate above 0, got -1."))
    'Error: Expected a rate above 0, got -1.'
    >>> print(describe_error(KeyError("a")))
    Error: KeyError: 'a'
    Set SSPS_DEBUG=1 to see the traceback.
    """
    rank = os.environ.get("RANK")
    of_all = os.environ.get("WORLD_SIZE", "1")
    place = "" if rank is None or of_all == "1" else f" in process {rank}"
    text = str(error).strip()
    if text.startswith(_OWN_WORDS):
        return f"Error{place}: {text}"
    if not isinstance(error, OSError) or not text:
        text = f"{type(error).__name__}: {text}" if text else repr(error)
    if isinstance(error, OSError) and error.strerror:
        return f"Error{place}: {_describe_system_error(error)}"
    return f"Error{place}: {text}\nSet {DEBUG_VARIABLE}=1 to see the traceback."


def wants_traceback(arguments: Sequence[str]) -> bool:
    """Whether a recipe's command line asks for SpeechBrain's debug mode."""
    return "--debug" in arguments


def _describe_system_error(error: OSError) -> str:
    """Say what the system refuses, without the number of the error."""
    names = [n for n in (error.filename, error.filename2) if n is not None]
    where = " and ".join(map(str, names))
    return f"{error.strerror}: {where}" if where else str(error.strerror)


def _log_traceback(error: BaseException) -> None:
    """Write the traceback to log files, and not to the screen."""
    record = logging.LogRecord(
        __name__,
        logging.ERROR,
        __file__,
        0,
        "Exception:",
        None,
        (type(error), error, error.__traceback__),
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _end_by_interrupt() -> int:
    """End as Ctrl-C ends a program, which shells and schedulers look for."""
    click.echo("\nInterrupted.", err=True)
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 128 + signal.SIGINT


def _end_by_closed_pipe() -> int:
    """End quietly: what reads the output, such as `head`, has enough."""
    # Python would flush at its end, and complain.
    null: Any = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return 128 + signal.SIGPIPE
