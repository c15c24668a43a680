"""The table that a training prints: one readable line an epoch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from speechbrain.utils.logger import get_logger

# Not SpeechBrain's adapter, which drops `extra`: the main process alone logs.
logger = get_logger(__name__).logger

# Of a log record: `(start, end, style)` of parts that a terminal may colour.
SPANS = "spans"


def _fixed(digits: int, factor: float = 1.0) -> Callable[[float], str]:
    return lambda value: f"{factor * value:.{digits}f}"


class _Column(NamedTuple):
    """A metric of the history: its group, heading, width and format."""

    key: str
    group: str
    heading: str
    width: int
    show: Callable[[float], str]


# All columns together fill a terminal of 80 characters.
_EPOCH_WIDTH = 7
_TIME_WIDTH = 8
_TRIALS = "verification"
_DRAWN = "SSPS %"
_COLUMNS = (
    _Column("loss", "", "loss", 8, _fixed(3)),
    _Column("learning_rate", "", "rate", 8, "{:.1e}".format),
    _Column("eer", _TRIALS, "EER %", 8, _fixed(2)),
    _Column("min_dcf_0.01", _TRIALS, "minDCF", 7, _fixed(3)),
    _Column("coverage", _DRAWN, "drawn", 7, _fixed(1, 100)),
    _Column("speaker_accuracy", _DRAWN, "same spk", 9, _fixed(1, 100)),
    _Column("recording_accuracy", _DRAWN, "same rec", 9, _fixed(1, 100)),
)


class EpochTable:
    """Log a heading, and a line for each epoch.

    Columns that a run cannot have are left out; `-` is in those that an epoch
    does not have.

    Arguments
    ---------
    num_epochs : int
        How many there will be.
    verifies : bool
        Whether there are trials, so that epochs are verified.
    start_epoch : int, optional
        First epoch with SSPS, None without.
    labels : sequence of str
        Of what the manifest names for every utterance: `speaker`, `recording`.

    Example
    -------
    >>> table = EpochTable(num_epochs=15, verifies=True)
    >>> print(table.heading())
                             verification
      epoch    loss    rate   EER % minDCF    time    left
    >>> row = {"epoch": 5, "loss": 0.04, "learning_rate": 1e-3, "eer": 15.46}
    >>> print(table.line(row, seconds=21.0))
       5/15   0.040 1.0e-03   15.46      -    0:21    3:30
    """

    def __init__(
        self,
        num_epochs: int,
        verifies: bool,
        start_epoch: int | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self.num_epochs = num_epochs
        drawn = {"coverage", *(f"{name}_accuracy" for name in labels)}
        self.columns = [
            column
            for column in _COLUMNS
            if column.group == ""
            or (column.group == _TRIALS and verifies)
            or (start_epoch is not None and column.key in drawn)
        ]
        self._lowest_eer = float("inf")
        self._has_heading = False

    def heading(self) -> str:
        """Return two lines: groups of columns, and columns."""
        groups = " " * _EPOCH_WIDTH
        for group in dict.fromkeys(column.group for column in self.columns):
            width = sum(c.width for c in self.columns if c.group == group)
            groups += f" {group:^{width - 1}}"
        names = [f"{'epoch':>{_EPOCH_WIDTH}}"]
        names += [f"{c.heading:>{c.width}}" for c in self.columns]
        names += [f"{name:>{_TIME_WIDTH}}" for name in ("time", "left")]
        return f"{groups.rstrip()}\n{''.join(names)}".lstrip("\n")

    def line(self, row: Mapping[str, Any], seconds: float) -> str:
        """Return the line of an epoch.

        Arguments
        ---------
        row : mapping
            The epoch's metrics, as in `history.json`.
        seconds : float
            How long the epoch took.

        Returns
        -------
        str
        """
        left = seconds * max(self.num_epochs - row["epoch"], 0)
        cells = [f"{row['epoch']}/{self.num_epochs}".rjust(_EPOCH_WIDTH)]
        for column in self.columns:
            value = row.get(column.key)
            shown = "-" if value is None else column.show(value)
            cells.append(shown.rjust(column.width))
        cells += [_clock(each).rjust(_TIME_WIDTH) for each in (seconds, left)]
        return "".join(cells)

    def log(self, row: Mapping[str, Any], seconds: float) -> None:
        """Log the line of an epoch, below the heading if it is the first.

        Arguments
        ---------
        row : mapping
            The epoch's metrics, as in `history.json`.
        seconds : float
            How long the epoch took.
        """
        if not self._has_heading:
            heading = self.heading()
            spans = [(0, len(heading), "bold")]
            logger.info("%s", heading, extra={SPANS: spans})
            self._has_heading = True
        line = self.line(row, seconds)
        spans = self._best_eer(row)
        logger.info("%s", line, extra={SPANS: spans})

    def _best_eer(self, row: Mapping[str, Any]) -> list[tuple[int, int, str]]:
        """Return where the lowest EER so far is, to be highlighted."""
        if row.get("eer", float("inf")) >= self._lowest_eer:
            return []
        self._lowest_eer = row["eer"]
        end = _EPOCH_WIDTH
        for column in self.columns:
            end += column.width
            if column.key == "eer":
                return [(end - column.width, end, "bold green")]
        return []


def _clock(seconds: float) -> str:
    """Write a length of time: minutes and seconds; hours, too; or days."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
