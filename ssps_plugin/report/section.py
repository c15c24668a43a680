"""What a page is made of: sections with charts, tables and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssps_plugin.report.charts import Chart


@dataclass
class Figure:
    """Charts in their place on the page.

    Arguments
    ---------
    name : str
        Name of the PNG, unique within a run.
    charts : list of Chart
        Side by side where there is room.
    caption : str
        What to read off.
    switch : dict of str to str
        Name and words of every choice of colours, the first one at the start.
    """

    name: str
    charts: list[Chart]
    caption: str
    switch: dict[str, str] = field(default_factory=dict)
    #: Set when the page is put together: its anchor, and its charts by name.
    key: str = ""
    panels: list[tuple[str, Chart]] = field(default_factory=list)

    @property
    def is_square(self) -> bool:
        """Whether the charts are as high as they are wide."""
        return self.charts[0].is_square


@dataclass
class Section:
    """A part of a report, with what is missing in it and why.

    Arguments
    ---------
    key, title : str
        Its anchor and its heading.
    text : str
        What it shows.
    figures : list of Figure
        Its charts.
    table : list of list of str
        Rows of a table, the header first.
    table_caption : str
        What the table shows.
    pairs : list of dict
        Pairs to listen to, see `choose_pairs`.
    missing : list of str
        What is not shown, and why.
    """

    key: str
    title: str
    text: str = ""
    figures: list[Figure] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    table_caption: str = ""
    pairs: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
