"""The figures of every epoch, kept in the output folder."""

import json
import os
import pathlib
from typing import Any

from ssps_plugin.atomic_write import atomic_write


class History:
    """Figures by epoch, saved after each one and taken up by a resume.

    Arguments
    ---------
    path : str or os.PathLike
        JSON file, a list of one mapping per epoch.

    Example
    -------
    >>> path = getfixture("tmp_path") / "history.json"
    >>> History(path).record({"epoch": 1, "loss": 2.0})
    >>> History(path).rows
    [{'epoch': 1, 'loss': 2.0}]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            self.rows = json.loads(self.path.read_text(encoding="utf-8"))

    def record(self, row: dict[str, Any]) -> None:
        """Add an epoch; it replaces its like and whatever came later."""
        kept = [old for old in self.rows if old["epoch"] < row["epoch"]]
        self.rows = [*kept, row]
        with atomic_write(self.path) as file:
            file.write(json.dumps(self.rows, indent=1))

    def at(self, epoch: int) -> dict[str, Any]:
        """Return the figures of an epoch, empty where there are none."""
        return next((row for row in self.rows if row["epoch"] == epoch), {})
