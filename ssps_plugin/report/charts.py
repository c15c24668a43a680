"""Charts as data, and how Plotly and Matplotlib draw them.

A chart is described once. The page draws it by Plotly, in the colours of the
reader's light or dark mode; the PNG is drawn by Matplotlib.
"""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Numbers of a page: more digits are not seen.
_DIGITS = 5
# Colours for light and dark backgrounds, by number. The first eight follow
# Okabe and Ito, whom colour-blind readers can distinguish.
LIGHT = (
    *("#0072b2", "#d55e00", "#008a63", "#b0578d", "#9a7400", "#2f8fc4"),
    *("#6f4fa0", "#a63a3a", "#4f7f1f", "#c2185b", "#00838f", "#6b6b6b"),
)
DARK = (
    *("#5cb8f0", "#ff9350", "#3ddba6", "#f08cc8", "#f0c94a", "#9ad7ff"),
    *("#bda2f5", "#ff8a8a", "#a8d96a", "#ff7fa8", "#4dd8e6", "#b8b8b8"),
)
GREY = len(LIGHT) - 1


Values = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Series:
    """One curve, area, histogram or cloud of points.

    Arguments
    ---------
    name : str
        As the legend has it; empty for none.
    x, y : sequence of float or numpy.ndarray
        The points.
    color : int
        Number of a colour.
    kind : str
        "line", "area" (filled down to 0), "bar" or "points".
    is_dashed, has_markers : bool
        How a line is drawn.
    texts : sequence of str
        What each point shows when it is pointed at.
    switch : dict of str to list of int
        Colours of the single points, by what they stand for.
    """

    name: str
    x: Values
    y: Values
    color: int = 0
    kind: str = "line"
    is_dashed: bool = False
    has_markers: bool = False
    texts: Sequence[str] = ()
    switch: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label."""

    x: float
    label: str
    color: int = GREY


@dataclass(frozen=True)
class Ticks:
    """Where an axis has its numbers, and how they are written."""

    values: Sequence[float]
    labels: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """A chart, without the colours of a page.

    Arguments
    ---------
    title, x_label, y_label : str
        Its words.
    series : sequence of Series
        What is drawn.
    marks : sequence of Mark
        Vertical lines.
    x_ticks, y_ticks : Ticks, optional
        Chosen by the library if left out.
    x_range, y_range : tuple of float, optional
        Likewise.
    is_square : bool
        Whether both axes have the same scale.
    has_axes : bool
        False for a map, whose axes mean nothing.
    hover : str
        How a point is written when it is pointed at, in Plotly's notation.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    x_ticks: Ticks | None = None
    y_ticks: Ticks | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    is_square: bool = False
    has_axes: bool = True
    hover: str = ""


def share_heights(charts: Sequence[Chart]) -> list[Chart]:
    """Give charts the same vertical range from 0, to compare their areas."""
    top = max(float(max(one.y)) for c in charts for one in c.series)
    return [replace(one, y_range=(0.0, 1.06 * top or 1.0)) for one in charts]


# -- Plotly ----------------------------------------------------------------


def plotly_figure(chart: Chart) -> dict[str, Any]:
    """Return the traces and layout that Plotly draws.

    A colour is written as `$3`, its number; the page's script replaces it.
    """
    traces = [_plotly_trace(one, chart.hover) for one in chart.series]
    num_named = sum(bool(one.name) for one in chart.series)
    layout: dict[str, Any] = {
        "xaxis": _plotly_axis(chart, chart.x_label, "x"),
        "yaxis": _plotly_axis(chart, chart.y_label, "y"),
        "showlegend": num_named > 1,
        "barmode": "overlay",
        "bargap": 0.05,
        "shapes": [_plotly_line(mark) for mark in chart.marks],
        "annotations": [_plotly_label(chart, mark) for mark in chart.marks],
    }
    if chart.is_square and chart.has_axes:
        layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
        layout["xaxis"]["constrain"] = "domain"
    return {"data": traces, "layout": layout}


def plotly_text(text: str) -> str:
    """Escape a text: Plotly reads tags, and untrusted names may have some.

    Example
    -------
    >>> plotly_text("<b>A & B</b>")
    '&lt;b&gt;A &amp; B&lt;/b&gt;'
    """
    shown = "".join(one if one.isprintable() else "�" for one in text)
    return html.escape(shown, quote=False)


def _plotly_trace(series: Series, hover: str) -> dict[str, Any]:
    color = f"${series.color}"
    trace: dict[str, Any] = {
        "x": _round(series.x),
        "y": _round(series.y),
        "name": plotly_text(series.name),
        "showlegend": bool(series.name),
    }
    if hover:
        extra = "<extra>%{fullData.name}</extra>" if series.name else ""
        trace["hovertemplate"] = hover + (extra or "<extra></extra>")
    if series.texts:
        trace["text"] = [plotly_text(text) for text in series.texts]
    if series.kind == "bar":
        return trace | {"type": "bar", "marker": {"color": color}}
    trace["type"] = "scatter"
    if series.kind == "points":
        trace["mode"] = "markers"
        trace["marker"] = {"color": color, "size": 6, "opacity": 0.85}
        return trace
    trace["mode"] = "lines+markers" if series.has_markers else "lines"
    trace["line"] = {"color": color, "width": 2}
    if series.has_markers:
        trace["marker"] = {"color": color, "size": 6}
    if series.is_dashed:
        trace["line"]["dash"] = "dash"
    if series.kind == "area":
        trace |= {"fill": "tozeroy", "fillcolor": f"{color}/0.25"}
        trace["line"]["shape"] = "hvh"
    return trace


def _plotly_axis(chart: Chart, label: str, name: str) -> dict[str, Any]:
    if not chart.has_axes:
        return {"visible": False}
    axis: dict[str, Any] = {"title": {"text": plotly_text(label)}}
    ticks = chart.x_ticks if name == "x" else chart.y_ticks
    limits = chart.x_range if name == "x" else chart.y_range
    if ticks is not None:
        axis |= {
            "tickmode": "array",
            "tickvals": _round(ticks.values),
            "ticktext": list(ticks.labels),
        }
    if limits is not None:
        axis["range"] = _round(limits)
    return axis


def _plotly_line(mark: Mark) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": mark.x,
        "x1": mark.x,
        "y0": 0,
        "y1": 1,
        "line": {"color": f"${mark.color}", "width": 1.5, "dash": "dot"},
    }


def _plotly_label(chart: Chart, mark: Mark) -> dict[str, Any]:
    return {
        "x": mark.x,
        "y": 1,
        "xref": "x",
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "right" if _is_on_the_right(chart, mark) else "left",
        "showarrow": False,
        "text": plotly_text(mark.label),
        "font": {"color": f"${mark.color}", "size": 12},
    }


def _is_on_the_right(chart: Chart, mark: Mark) -> bool:
    """Whether a label has more room on the left of its line."""
    if chart.x_range is not None:
        low, high = chart.x_range
    else:
        values = [value for one in chart.series for value in one.x]
        low, high = min(values, default=0.0), max(values, default=1.0)
    return mark.x > (low + high) / 2


def _round(values: Values) -> list[float | None]:
    """Round numbers for the page; JSON has no nan."""
    return [
        None if value != value else float(f"{value:.{_DIGITS}g}")
        for value in map(float, values)
    ]


# -- Matplotlib ------------------------------------------------------------


def write_png(
    path: pathlib.Path, charts: Sequence[Chart], key: str | None = None
) -> None:
    """Draw charts side by side.

    Arguments
    ---------
    path : pathlib.Path
        The picture to write.
    charts : sequence of Chart
        From left to right.
    key : str, optional
        Which of a chart's colours to use, where there is a choice.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ssps_plugin.evaluation.plots import STYLE

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        width = 5.6 if charts[0].is_square else 6.4
        figure = Figure(figsize=(width * len(charts), 4.6))
        figure.set_layout_engine("constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(charts), squeeze=False)[0]
        for axes, chart in zip(panels, charts, strict=True):
            _draw(axes, chart, key)
        figure.savefig(path, dpi=120)


def _draw(axes: Axes, chart: Chart, key: str | None) -> None:
    for series in chart.series:
        _draw_series(axes, series, key)
    axes.set_title(_plain(chart.title), pad=20 if chart.marks else 8)
    if not chart.has_axes:
        axes.set_axis_off()
    axes.set_xlabel(_plain(chart.x_label))
    axes.set_ylabel(_plain(chart.y_label))
    if chart.x_ticks is not None:
        axes.set_xticks(chart.x_ticks.values, chart.x_ticks.labels)
    if chart.y_ticks is not None:
        axes.set_yticks(chart.y_ticks.values, chart.y_ticks.labels)
    if chart.x_range is not None:
        axes.set_xlim(chart.x_range)
    if chart.y_range is not None:
        axes.set_ylim(chart.y_range)
    if chart.is_square:
        axes.set_box_aspect(1)
        axes.grid(chart.has_axes, axis="both")
    for mark in chart.marks:
        right = _is_on_the_right(chart, mark)
        axes.axvline(mark.x, color=LIGHT[mark.color], linestyle=":", lw=1.5)
        axes.text(
            mark.x,
            1.02,
            _plain(mark.label),
            color=LIGHT[mark.color],
            fontsize=9,
            ha="right" if right else "left",
            transform=axes.get_xaxis_transform(),
        )
    if sum(bool(one.name) for one in chart.series) > 1:
        axes.legend(frameon=False, fontsize=8, loc="best")


def _draw_series(axes: Axes, series: Series, key: str | None) -> None:
    color: Any = LIGHT[series.color]
    label = _plain(series.name) or None
    if series.kind == "bar":
        width = series.x[1] - series.x[0] if len(series.x) > 1 else 1.0
        axes.bar(series.x, series.y, 0.95 * width, color=color, label=label)
    elif series.kind == "points":
        if key in series.switch:
            color = [LIGHT[number] for number in series.switch[key]]
        axes.scatter(series.x, series.y, s=12, c=color, label=label)
    else:
        style = "--" if series.is_dashed else "-"
        marker = "o" if series.has_markers else ""
        shape = "steps-mid" if series.kind == "area" else "default"
        axes.plot(
            *(series.x, series.y, style),
            marker=marker,
            color=color,
            label=label,
            drawstyle=shape,
        )
        if series.kind == "area":
            axes.fill_between(
                *(series.x, series.y), step="mid", color=color, alpha=0.25
            )


def _plain(text: str) -> str:
    """Escape what Matplotlib would read as a formula."""
    shown = "".join(one if one.isprintable() else "�" for one in text)
    return shown.replace("$", r"\$")
