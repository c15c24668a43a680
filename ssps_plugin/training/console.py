"""What a recipe prints: sentences, coloured on a terminal, plain elsewhere."""

import importlib
import logging
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tqdm import tqdm

from ssps_plugin.evaluation.epoch_table import SPANS
from ssps_plugin.progress import is_terminal

#: Of `create_experiment_directory`'s argument `log_config`.
LOG_CONFIG = str(pathlib.Path(__file__).with_name("log_config.yaml"))

# What these say is for log.txt, unless it is a warning: the console has a line
# an epoch.
_FILE_ONLY = (
    "speechbrain",
    "ssps_plugin.positive_sampler",
    "ssps_plugin.training.checkpoints",
)
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red"}


class ConsoleHandler(logging.StreamHandler):
    """Print log messages as sentences, past a progress bar.

    Warnings and errors begin with what they are. Colours are for terminals: a
    file or a pipe gets the bare text.

    Arguments
    ---------
    stream : file, optional
        Standard error when left out.

    Example
    -------
    >>> import io
    >>> handler = ConsoleHandler(io.StringIO())
    >>> logger = logging.getLogger("doctest")
    >>> logger.addHandler(handler)
    >>> logger.warning("No trials.")
    >>> handler.stream.getvalue()
    'Warning: No trials.\\n'
    >>> logger.removeHandler(handler)
    """

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self.addFilter(_is_for_console)
        self._console: Any = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and what kind it is if it is no information."""
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{record.levelname.capitalize()}: {text}"

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a bar is moved out of its way."""
        try:
            text = self.format(record)
            if is_terminal(self.stream):
                text = self._coloured(text, record)
            tqdm.write(text, file=self.stream, end=self.terminator)
            self.flush()
        except RecursionError:
            raise
        except Exception:  # as every handler does: a log never ends a run
            self.handleError(record)

    def _coloured(self, text: str, record: logging.LogRecord) -> str:
        """Return a text with the terminal's codes for its colours."""
        from rich.console import Console
        from rich.text import Text

        if self._console is None or self._console.file is not self.stream:
            # Terminals that have no colours get none; nor where NO_COLOR is
            # set.
            self._console = Console(file=self.stream, force_terminal=True)
        coloured = Text(text, style=_STYLES.get(record.levelno, ""))
        for start, end, style in getattr(record, SPANS, ()):
            coloured.stylize(style, start, end)
        with self._console.capture() as capture:
            # The terminal wraps: a command that is shown can be copied.
            self._console.print(coloured, soft_wrap=True, end="")
        return str(capture.get())


def _is_for_console(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        return True
    return not f"{record.name}.".startswith(
        tuple(f"{name}." for name in _FILE_ONLY)
    )


def log_to_console(stream: Any = None) -> None:
    """Print what is logged, where no run's folder has a log.

    Arguments
    ---------
    stream : file, optional
        Standard error when left out.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, ConsoleHandler):
            root.removeHandler(handler)
    handler = ConsoleHandler(stream)
    handler.setLevel(logging.INFO)
    root.addHandler(handler)


@contextmanager
def without_torchvision_note() -> Iterator[None]:
    """Silence SpeechBrain's note that torchvision is not installed.

    It is logged when its train loggers are imported, and is of figures that
    no recipe here saves.
    """
    logger = logging.getLogger("speechbrain.utils.train_logger")

    def is_other(record: logging.LogRecord) -> bool:
        return "torchvision" not in record.getMessage()

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def import_train_loggers() -> ModuleType:
    """Import SpeechBrain's train loggers, without a note on torchvision."""
    with without_torchvision_note():
        return importlib.import_module("speechbrain.utils.train_logger")
