"""Training curves: loss, EER and pseudo-positives, the start of SSPS marked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain.utils.logger import get_logger

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = get_logger(__name__)

Epoch = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """One metric of the history: its key, and how it is drawn."""

    key: str
    label: str
    color: str
    scale: float = 1.0


# Okabe and Ito's palette: colour-blind readers can distinguish it, too.
_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072B2", "#D55E00", "#009E73", "#B0578D"
_GREY, _LIGHT_GREY, _BLACK = "#777777", "#e6e6e6", "#222222"

#: How pictures look, here and in the report.
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _LIGHT_GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "lines.linewidth": 2.0,
    "lines.markersize": 4.0,
}

#: Curves of each panel. Fractions of pseudo-positives share one, in percent.
PANELS = {
    "Training loss": (Curve("loss", "loss", _BLUE),),
    "Equal error rate (%)": (Curve("eer", "EER", _ORANGE),),
    "Pseudo-positives (%)": (
        Curve("speaker_accuracy", "same speaker", _GREEN, 100),
        Curve("recording_accuracy", "same recording", _PURPLE, 100),
        Curve("coverage", "coverage", _GREY, 100),
        Curve("votes", "votes of a draw", _ORANGE, 100),  # where there are any
    ),
}
#: Keys of a history whose values are drawn, and so must be numbers.
PLOTTED_METRICS = [c.key for curves in PANELS.values() for c in curves]


def plot_curves(
    history: Sequence[Epoch],
    path: str | os.PathLike[str],
    start_epoch: int | None = None,
) -> bool:
    """Plot loss, EER and the quality of pseudo-positives over the epochs.

    Arguments
    ---------
    history : sequence of mapping
        One per epoch: `epoch` (from 1), `loss`, `eer` (in percent),
        `speaker_accuracy`, `recording_accuracy`, `coverage` (fractions in
        [0, 1]); all but `epoch` may be missing or None. If an epoch occurs
        twice, as after a resume, the last one counts.
    path : str or os.PathLike
        Picture to write, in the format of its suffix.
    start_epoch : int, optional
        First epoch with substituted positives, marked by a vertical line.

    Returns
    -------
    bool
        False if matplotlib is not installed; a warning says how to install it.

    Raises
    ------
    ValueError
        The history is empty.

    Example
    -------
    >>> path = getfixture("tmp_path") / "curves.png"
    >>> history = [{"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": 3.5}]
    >>> plot_curves(history, path, start_epoch=2) == path.exists()
    True
    """
    if not history:
        raise ValueError(
            "Expected the metrics of at least one epoch, got an empty history: "
            "train an epoch first."
        )
    try:
        from matplotlib import rc_context
    except ImportError:
        logger.warning(
            "%s was not drawn because matplotlib is not installed: "
            "pip install 'ssps_plugin[demo]'",
            path,
        )
        return False
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        draw_curves(history, start_epoch).savefig(path, dpi=150)
    return True


def draw_curves(
    history: Sequence[Epoch], start_epoch: int | None = None
) -> Figure:
    """Draw the figure that `plot_curves` writes.

    Matplotlib is needed, a display is not.

    Arguments
    ---------
    history : sequence of mapping
        As for `plot_curves`.
    start_epoch : int, optional
        As for `plot_curves`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    by_epoch = {record["epoch"]: record for record in history}
    records = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    first, last = records[0]["epoch"], records[-1]["epoch"]
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.02)
    figure = Figure(figsize=(13, 4), layout=layout)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(PANELS))
    for axes, (title, curves) in zip(panels, PANELS.items(), strict=True):
        axes.set_title(title, pad=20)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        # Room on the right for the last values.
        axes.set_xlim(first - 0.5, last + 0.5 + 0.06 * (last - first))
        _draw_panel(axes, records, curves)
        if start_epoch is not None and first <= start_epoch <= last:
            _mark_start(axes, start_epoch)
    return figure


def _draw_panel(
    axes: Axes, records: Sequence[Epoch], curves: Sequence[Curve]
) -> None:
    """Draw the curves of one panel, and set its legend and vertical range."""
    drawn = [curve for curve in curves if _draw_curve(axes, records, curve)]
    if not drawn:
        axes.set_yticks([])
        axes.text(
            0.5,
            0.5,
            "not recorded",
            color=_GREY,
            ha="center",
            transform=axes.transAxes,
        )
    elif len(curves) > 1:
        axes.set_ylim(-3, 103)
        axes.legend(
            frameon=False,
            loc="upper center",
            ncols=3,
            bbox_to_anchor=(0.5, -0.14),
            handlelength=1.2,
            columnspacing=1.4,
        )
    elif axes.get_ylim()[0] > 0:
        axes.set_ylim(0, 1.04 * axes.get_ylim()[1])  # no point on the edge


def _draw_curve(axes: Axes, records: Sequence[Epoch], curve: Curve) -> bool:
    """Draw the epochs that have the metric; return False if none has it."""
    # An EER computed every few epochs only is one line, without gaps.
    points = [
        (record["epoch"], curve.scale * record[curve.key])
        for record in records
        if record.get(curve.key) is not None
    ]
    if not points:
        return False
    epochs, values = zip(*points, strict=True)
    marker = "o" if len(points) <= 40 else ""
    axes.plot(
        epochs, values, color=curve.color, label=curve.label, marker=marker
    )
    axes.annotate(
        f"{values[-1]:.3g}",
        (epochs[-1], values[-1]),
        (6, 0),
        textcoords="offset points",
        va="center",
        color=curve.color,
        fontweight="bold",
        fontsize=9,
    )
    return True


def _mark_start(axes: Axes, start_epoch: int) -> None:
    """Draw a labelled line before the first epoch with substitution."""
    # Between two epochs: the start epoch's own metrics are already with SSPS.
    position = start_epoch - 0.5
    left, right = axes.get_xlim()
    axes.axvspan(position, right, color=_GREEN, alpha=0.06, linewidth=0)
    axes.axvline(position, color=_BLACK, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.text(
        position,
        1.02,
        f"SSPS from epoch {start_epoch}",
        fontsize=9,
        # The label of a late start extends to the left, to stay in the panel.
        ha="right" if position > (left + right) / 2 else "left",
        transform=axes.get_xaxis_transform(),
    )
